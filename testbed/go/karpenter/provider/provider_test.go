package provider

import (
	"context"
	"net/http"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	v1 "sigs.k8s.io/karpenter/pkg/apis/v1"
	"sigs.k8s.io/karpenter/pkg/cloudprovider"

	"testbed/karpenter/nodeclass"
)

// setup returns a provider on a fake node manager and a fake API server, whose class `default` is Ready, and its clock.
func setup(t *testing.T) (*Provider, *fakeNodeManager, *clocktesting.FakeClock) {
	t.Helper()
	nodes, manager := startNodeManager(t)
	ready := &nodeclass.TestbedNodeClass{ObjectMeta: metav1.ObjectMeta{Name: "default"}}
	ready.StatusConditions().SetTrue(nodeclass.ConditionNodeManager)
	notReady := &nodeclass.TestbedNodeClass{ObjectMeta: metav1.ObjectMeta{Name: "not-ready"}}
	notReady.StatusConditions().SetFalse(nodeclass.ConditionNodeManager, "NoAnswer", "no such socket")
	kubeClient := fake.NewClientBuilder().WithScheme(scheme.Scheme).WithObjects(ready, notReady).
		// As Karpenter's operator indexes the pods.
		WithIndex(&corev1.Pod{}, "spec.nodeName", func(object client.Object) []string {
			return []string{object.(*corev1.Pod).Spec.NodeName}
		}).Build()
	clock := clocktesting.NewFakeClock(time.Now())
	return New(kubeClient, manager, clock), nodes, clock
}

// claim returns a NodeClaim as Karpenter makes one for a NodePool `default`.
func claim(name, cpu string, requirements ...v1.NodeSelectorRequirementWithMinValues) *v1.NodeClaim {
	return &v1.NodeClaim{
		ObjectMeta: metav1.ObjectMeta{
			Name: name,
			Labels: map[string]string{
				v1.NodePoolLabelKey:      "default",
				"team":                   "blue",
				corev1.LabelTopologyZone: "testbed-a",
			},
		},
		Spec: v1.NodeClaimSpec{
			NodeClassRef: &v1.NodeClassReference{Group: nodeclass.Group, Kind: "TestbedNodeClass", Name: "default"},
			Requirements: requirements,
			Resources: v1.ResourceRequirements{
				Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)},
			},
		},
	}
}

func in(key string, values ...string) v1.NodeSelectorRequirementWithMinValues {
	return v1.NodeSelectorRequirementWithMinValues{Key: key, Operator: corev1.NodeSelectorOpIn, Values: values}
}

func create(t *testing.T, provider *Provider, wanted *v1.NodeClaim) *v1.NodeClaim {
	t.Helper()
	created, err := provider.Create(context.Background(), wanted)
	if err != nil {
		t.Fatal(err)
	}
	return created
}

func TestTheCheapestTypeThatFitsIsLaunched(t *testing.T) {
	for cpu, expected := range map[string]string{"100m": "small", "300m": "small", "301m": "medium", "1200m": "large"} {
		provider, _, _ := setup(t)
		created := create(t, provider, claim("node", cpu))
		if got := created.Labels[corev1.LabelInstanceTypeStable]; got != expected {
			t.Errorf("%s of CPU: launched %s, want %s", cpu, got, expected)
		}
	}
}

func TestTheRequirementsOfTheClaimHold(t *testing.T) {
	provider, _, _ := setup(t)
	created := create(t, provider, claim("node", "100m",
		in(corev1.LabelInstanceTypeStable, "medium", "large"),
		in(corev1.LabelTopologyZone, "testbed-c"),
		in(corev1.LabelArchStable, architecture),
		in(corev1.LabelOSStable, "linux"),
		in(v1.CapacityTypeLabelKey, v1.CapacityTypeOnDemand, v1.CapacityTypeSpot),
	))
	for label, expected := range map[string]string{
		corev1.LabelInstanceTypeStable: "medium",
		corev1.LabelTopologyZone:       "testbed-c",
		corev1.LabelTopologyRegion:     "testbed",
		corev1.LabelArchStable:         architecture,
		corev1.LabelOSStable:           "linux",
		v1.CapacityTypeLabelKey:        v1.CapacityTypeOnDemand,
	} {
		if created.Labels[label] != expected {
			t.Errorf("label %s is %q, want %q", label, created.Labels[label], expected)
		}
	}
	if created.Status.ProviderID != "testbed://testbed-c/node" {
		t.Errorf("provider ID %q", created.Status.ProviderID)
	}
	for resourceName, expected := range map[corev1.ResourceName]string{"cpu": "600m", "memory": "1Gi", "pods": "40"} {
		for what, list := range map[string]corev1.ResourceList{"capacity": created.Status.Capacity, "allocatable": created.Status.Allocatable} {
			if got := list[resourceName]; got.Cmp(resource.MustParse(expected)) != 0 {
				t.Errorf("%s of %s is %s, want %s", what, resourceName, got.String(), expected)
			}
		}
	}
	for _, impossible := range []v1.NodeSelectorRequirementWithMinValues{
		in(v1.CapacityTypeLabelKey, v1.CapacityTypeSpot),
		in(corev1.LabelArchStable, "s390x"),
		in(corev1.LabelTopologyZone, "elsewhere"),
		in(corev1.LabelInstanceTypeStable, "huge"),
	} {
		_, err := provider.Create(context.Background(), claim("another", "100m", impossible))
		if !cloudprovider.IsInsufficientCapacityError(err) {
			t.Errorf("%s in %v: %v", impossible.Key, impossible.Values, err)
		}
	}
}

func TestClaimsWithoutAZoneSpreadOverTheZones(t *testing.T) {
	provider, nodes, _ := setup(t)
	first := &corev1.Node{ObjectMeta: metav1.ObjectMeta{
		Name: "testbed", Labels: map[string]string{corev1.LabelTopologyZone: "testbed-a"},
	}}
	if err := provider.kubeClient.Create(context.Background(), first); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"one", "two", "three"} {
		create(t, provider, claim(name, "100m"))
	}
	// The first node of the cluster is in testbed-a.
	if zones := nodes.zones(); !slices.Equal(zones, []string{"testbed-b", "testbed-c", "testbed-a"}) {
		t.Errorf("three nodes are in the zones %v", zones)
	}
}

func TestANodeRegistersWithTheTaintAndTheLabelsThatAKubeletMaySet(t *testing.T) {
	provider, nodes, _ := setup(t)
	wanted := claim("node", "100m")
	wanted.Spec.Taints = []corev1.Taint{{Key: "team", Value: "blue", Effect: corev1.TaintEffectNoSchedule}}
	wanted.Spec.StartupTaints = []corev1.Taint{{Key: "starting", Effect: corev1.TaintEffectNoExecute}}
	create(t, provider, wanted)
	request := nodes.requests[0]
	var taints []string
	for _, taint := range request.Taints {
		taints = append(taints, taint.Key+"="+taint.Value+":"+taint.Effect)
	}
	expected := []string{"karpenter.sh/unregistered=:NoExecute", "team=blue:NoSchedule", "starting=:NoExecute"}
	if !slices.Equal(taints, expected) {
		t.Errorf("taints %v, want %v", taints, expected)
	}
	if request.Labels["team"] != "blue" || request.Labels[v1.NodePoolLabelKey] != "default" ||
		request.Labels[v1.CapacityTypeLabelKey] != v1.CapacityTypeOnDemand {
		t.Errorf("labels %v", request.Labels)
	}
	if zone, ok := request.Labels[corev1.LabelTopologyZone]; ok {
		t.Errorf("the label of the zone, %s, is the node manager's own", zone)
	}
}

func TestAZoneWithoutCapacityIsAvoidedForAMinute(t *testing.T) {
	provider, nodes, clock := setup(t)
	// A fault of the node manager in a zone counts as no capacity too.
	nodes.refusals = map[string]int{"testbed-a": http.StatusServiceUnavailable, "testbed-b": http.StatusInternalServerError}
	created := create(t, provider, claim("node", "100m"))
	if zone := created.Labels[corev1.LabelTopologyZone]; zone != "testbed-c" {
		t.Errorf("launched in %s", zone)
	}
	if zones := nodes.zones(); len(zones) != 3 {
		t.Errorf("asked for nodes in %v, want each zone once", zones)
	}
	if available := availableZones(t, provider); !slices.Equal(available, []string{"testbed-c"}) {
		t.Errorf("zones with capacity: %v", available)
	}
	_, err := provider.Create(context.Background(), claim("pinned", "100m", in(corev1.LabelTopologyZone, "testbed-a")))
	if !cloudprovider.IsInsufficientCapacityError(err) {
		t.Errorf("a claim for a zone without capacity: %v", err)
	}
	if zones := nodes.zones(); len(zones) != 3 {
		t.Errorf("asked again: %v", zones)
	}
	nodes.refusals = nil
	clock.Step(exhaustedFor)
	if available := availableZones(t, provider); len(available) != 3 {
		t.Errorf("zones with capacity after %v: %v", exhaustedFor, available)
	}
}

// availableZones returns the zones that Karpenter may plan nodes in, which it reads from two places.
func availableZones(t *testing.T, provider *Provider) []string {
	t.Helper()
	types, err := provider.GetInstanceTypes(context.Background(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(types) != 3 {
		t.Fatalf("%d types", len(types))
	}
	var offered []string
	for _, offering := range types[0].Offerings.Available() {
		offered = append(offered, offering.Zone())
	}
	required := types[0].Requirements.Get(corev1.LabelTopologyZone).Values()
	slices.Sort(offered)
	slices.Sort(required)
	if !slices.Equal(offered, required) {
		t.Errorf("the offerings name the zones %v, the requirements %v", offered, required)
	}
	return offered
}

func TestNoCapacityAnywhereSaysSo(t *testing.T) {
	provider, nodes, _ := setup(t)
	for _, status := range []int{http.StatusServiceUnavailable, http.StatusBadRequest} {
		nodes.refusals = map[string]int{"testbed-a": status, "testbed-b": status, "testbed-c": status}
		_, err := provider.Create(context.Background(), claim("node", "100m"))
		if !cloudprovider.IsInsufficientCapacityError(err) {
			t.Errorf("%d everywhere: %v", status, err)
		}
	}
}

func TestALaunchWhoseAnswerWasLostIsNotRepeated(t *testing.T) {
	provider, nodes, _ := setup(t)
	first := create(t, provider, claim("node", "100m"))
	second := create(t, provider, claim("node", "100m"))
	if first.Status.ProviderID != second.Status.ProviderID || len(nodes.nodes) != 1 {
		t.Errorf("%s, then %s", first.Status.ProviderID, second.Status.ProviderID)
	}
	byHand := claim("node", "100m")
	byHand.Labels[v1.NodePoolLabelKey] = "another"
	if _, err := provider.Create(context.Background(), byHand); !cloudprovider.IsInsufficientCapacityError(err) {
		t.Errorf("a claim of another NodePool with the name of a node: %v", err)
	}
}

func TestAClassThatIsNotReadyLaunchesNothing(t *testing.T) {
	provider, nodes, _ := setup(t)
	notReady := claim("node", "100m")
	notReady.Spec.NodeClassRef.Name = "not-ready"
	if _, err := provider.Create(context.Background(), notReady); !cloudprovider.IsNodeClassNotReadyError(err) {
		t.Errorf("a class that is not ready: %v", err)
	}
	missing := claim("node", "100m")
	missing.Spec.NodeClassRef.Name = "missing"
	if _, err := provider.Create(context.Background(), missing); !cloudprovider.IsInsufficientCapacityError(err) {
		t.Errorf("a class that does not exist: %v", err)
	}
	if len(nodes.requests) != 0 {
		t.Errorf("asked for %v", nodes.requests)
	}
}

func TestGetListAndDelete(t *testing.T) {
	provider, nodes, _ := setup(t)
	ctx := context.Background()
	created := create(t, provider, claim("node", "100m"))
	object := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node"}}
	if err := provider.kubeClient.Create(ctx, object); err != nil {
		t.Fatal(err)
	}
	byHand := nodes.nodes[0]
	byHand.Name, byHand.ProviderID, byHand.Labels = "node-2", "testbed://testbed-a/node-2", nil
	nodes.nodes = append(nodes.nodes, byHand)

	got, err := provider.Get(ctx, created.Status.ProviderID)
	if err != nil || got.Status.ProviderID != created.Status.ProviderID {
		t.Errorf("get: %v, %v", got, err)
	}
	listed, err := provider.List(ctx)
	if err != nil || len(listed) != 1 || listed[0].Name != "node" {
		t.Errorf("list without the node that was added by hand: %v, %v", listed, err)
	}
	if listed[0].CreationTimestamp.IsZero() {
		t.Error("no time of creation")
	}
	// Nothing is left when the request returns, so there is nothing to wait for.
	if err := provider.Delete(ctx, created); !cloudprovider.IsNodeClaimNotFoundError(err) {
		t.Errorf("delete: %v", err)
	}
	if len(nodes.nodes) != 1 {
		t.Errorf("nodes after the removal: %v", nodes.nodes)
	}
	err = provider.kubeClient.Get(ctx, client.ObjectKeyFromObject(object), object)
	if !apierrors.IsNotFound(err) {
		t.Errorf("the Node object after the removal: %v", err)
	}
	if err := provider.Delete(ctx, created); !cloudprovider.IsNodeClaimNotFoundError(err) {
		t.Errorf("delete again: %v", err)
	}
	if _, err := provider.Get(ctx, created.Status.ProviderID); !cloudprovider.IsNodeClaimNotFoundError(err) {
		t.Errorf("get after the removal: %v", err)
	}
	created.Status.ProviderID = "aws:///eu-central-1a/i-0123"
	if err := provider.Delete(ctx, created); err == nil || cloudprovider.IsNodeClaimNotFoundError(err) {
		t.Errorf("delete of an instance of another cloud: %v", err)
	}
}
