package provider

import (
	"sync"
	"time"

	"k8s.io/utils/clock"
)

// exhaustedFor is how long a zone counts as unavailable after a launch there failed. In this time Karpenter
// plans nodes in other zones. Karpenter's provider for AWS waits 3 minutes; a minute suits tests.
const exhaustedFor = time.Minute

// exhaustedZones remembers the zones where a launch failed. A cloud says that a zone is exhausted only in the answer to a launch.
type exhaustedZones struct {
	clock clock.PassiveClock
	mutex sync.Mutex
	until map[string]time.Time
}

func newExhaustedZones(clock clock.PassiveClock) *exhaustedZones {
	return &exhaustedZones{clock: clock, until: map[string]time.Time{}}
}

func (e *exhaustedZones) add(zone string) {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	e.until[zone] = e.clock.Now().Add(exhaustedFor)
}

func (e *exhaustedZones) has(zone string) bool {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	return e.clock.Now().Before(e.until[zone])
}
