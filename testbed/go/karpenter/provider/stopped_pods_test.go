package provider

import (
	"context"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/karpenter/pkg/cloudprovider"
)

// terminating adds a pod of the node `node` that has been deleted, and that only the kubelet can remove.
func terminating(t *testing.T, provider *Provider, name string, phase corev1.PodPhase) *corev1.Pod {
	t.Helper()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default", Finalizers: []string{"test/kubelet"}},
		Spec:       corev1.PodSpec{NodeName: "node"},
		Status:     corev1.PodStatus{Phase: phase},
	}
	ctx := context.Background()
	if err := provider.kubeClient.Create(ctx, pod); err != nil {
		t.Fatal(err)
	}
	if err := provider.kubeClient.Delete(ctx, pod); err != nil {
		t.Fatal(err)
	}
	if err := provider.kubeClient.Get(ctx, client.ObjectKeyFromObject(pod), pod); err != nil {
		t.Fatal(err)
	}
	return pod
}

func TestANodeStopsAfterItsKubeletHasDeletedTheStoppedPods(t *testing.T) {
	provider, nodes, _ := setup(t)
	created := create(t, provider, claim("node", "100m"))
	stopped := terminating(t, provider, "stopped", corev1.PodSucceeded)
	// A pod whose containers run keeps no node: Karpenter has waited for it.
	terminating(t, provider, "running", corev1.PodRunning)
	looks := 0
	provider.kubeClient = interceptor.NewClient(provider.kubeClient.(client.WithWatch), interceptor.Funcs{
		List: func(ctx context.Context, inner client.WithWatch, list client.ObjectList, options ...client.ListOption) error {
			looks++
			if looks == 3 {
				if len(nodes.nodes) != 1 {
					t.Error("the node has stopped before its kubelet deleted the pod")
				}
				stopped.Finalizers = nil
				if err := inner.Update(ctx, stopped); err != nil {
					t.Error(err)
				}
			}
			return inner.List(ctx, list, options...)
		},
	})
	if err := provider.Delete(context.Background(), created); !cloudprovider.IsNodeClaimNotFoundError(err) {
		t.Errorf("delete: %v", err)
	}
	if looks != 3 || len(nodes.nodes) != 0 {
		t.Errorf("%d looks, nodes: %v", looks, nodes.nodes)
	}
}

func TestAKubeletThatIsGoneKeepsNoNode(t *testing.T) {
	provider, nodes, _ := setup(t)
	created := create(t, provider, claim("node", "100m"))
	terminating(t, provider, "stopped", corev1.PodFailed)
	before := time.Now()
	if err := provider.Delete(context.Background(), created); !cloudprovider.IsNodeClaimNotFoundError(err) {
		t.Errorf("delete: %v", err)
	}
	if len(nodes.nodes) != 0 || time.Since(before) < lastReport {
		t.Errorf("nodes after %v: %v", time.Since(before), nodes.nodes)
	}
}
