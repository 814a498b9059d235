package provider

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/karpenter/pkg/utils/node"
	"sigs.k8s.io/karpenter/pkg/utils/pod"
)

const (
	// lastReport is how long the kubelet may take to delete the pods whose containers have stopped. It takes about a second.
	// A kubelet that does not answer any more deletes none of them.
	lastReport = 5 * time.Second
	// lastReportInterval is the time between two looks at the cache.
	lastReportInterval = 200 * time.Millisecond
)

// waitForStoppedPods waits until the kubelet has deleted the pods that it has stopped.
//
// For Karpenter, a node is drained when the containers of its pods have stopped. An instance of a cloud then shuts down for
// seconds, in which its kubelet deletes the pods. A node of the testbed stops at once, and a pod that it has not deleted stays
// Terminating until the garbage collector of the control plane finds it, after up to a minute.
func (p *Provider) waitForStoppedPods(ctx context.Context, name string) error {
	object := &corev1.Node{}
	object.Name = name
	err := wait.PollUntilContextTimeout(ctx, lastReportInterval, lastReport, true, func(ctx context.Context) (bool, error) {
		pods, err := node.GetPods(ctx, p.kubeClient, object)
		for _, found := range pods {
			if pod.IsTerminating(found) && pod.IsTerminal(found) {
				return false, nil
			}
		}
		return true, err
	})
	if err != nil && !wait.Interrupted(err) {
		return fmt.Errorf("waiting for the last pods of the node %s, %w", name, err)
	}
	return nil
}
