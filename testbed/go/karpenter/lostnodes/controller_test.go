package lostnodes

import (
	"context"
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	v1 "sigs.k8s.io/karpenter/pkg/apis/v1"

	"testbed/karpenter/nodemanager"
)

// nodeManager has nodes in memory.
type nodeManager struct {
	nodes   []nodemanager.Node
	removed []string
}

func (m *nodeManager) Nodes(context.Context) ([]nodemanager.Node, error) {
	return m.nodes, nil
}

func (m *nodeManager) Remove(_ context.Context, name string) error {
	m.removed = append(m.removed, name)
	return nil
}

// zones remembers the zones to avoid.
type zones []string

func (z *zones) Avoid(zone string) {
	*z = append(*z, zone)
}

// claim returns a claim whose node was launched.
func claim(name string, registered bool) *v1.NodeClaim {
	claim := &v1.NodeClaim{ObjectMeta: metav1.ObjectMeta{Name: name}}
	claim.Status.ProviderID = "testbed://testbed-a/" + name
	if registered {
		claim.StatusConditions().SetTrue(v1.ConditionTypeRegistered)
	}
	return claim
}

func TestOnlyClaimsAndNodesWithoutTheirOtherHalfAreRemoved(t *testing.T) {
	clock := clocktesting.NewFakeClock(time.Now())
	old, young := clock.Now().Add(-2*time.Minute), clock.Now().Add(-time.Second)
	ofPool := map[string]string{v1.NodePoolLabelKey: "default"}
	nodes := &nodeManager{nodes: []nodemanager.Node{
		{Name: "starting", State: "starting", Created: young, Labels: ofPool},
		{Name: "joined", State: "joined", Created: old, Labels: ofPool},
		{Name: "failed", Zone: "testbed-a", State: "failed", Created: young, Labels: ofPool},
		{Name: "late", Zone: "testbed-b", State: "starting", Created: old, Labels: ofPool},
		{Name: "unknown", State: "joined", Created: old, Labels: ofPool},
		{Name: "young", State: "starting", Created: young, Labels: ofPool},
		{Name: "by-hand", State: "joined", Created: old},
	}}
	unlaunched := claim("unlaunched", false)
	unlaunched.Status.ProviderID = ""
	kubeClient := fake.NewClientBuilder().WithScheme(scheme.Scheme).WithObjects(
		claim("starting", false),
		claim("joined", true),
		claim("failed", false),
		claim("late", false),
		claim("gone", false),
		claim("registered-and-gone", true),
		unlaunched,
	).Build()
	avoided := &zones{}
	if _, err := NewController(kubeClient, nodes, avoided, clock).Reconcile(context.Background()); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(nodes.removed, []string{"unknown"}) {
		t.Errorf("removed the nodes %v", nodes.removed)
	}
	slices.Sort(*avoided)
	if !slices.Equal(*avoided, zones{"testbed-a", "testbed-b"}) {
		t.Errorf("avoided the zones %v", *avoided)
	}
	left := &v1.NodeClaimList{}
	if err := kubeClient.List(context.Background(), left); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, claim := range left.Items {
		names = append(names, claim.Name)
	}
	slices.Sort(names)
	if expected := []string{"joined", "starting", "unlaunched"}; !slices.Equal(names, expected) {
		t.Errorf("claims left: %v, want %v", names, expected)
	}
}
