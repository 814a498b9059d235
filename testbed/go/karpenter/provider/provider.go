// Package provider is Karpenter's cloud provider for the testbed. An instance is a node of the testbed, which the node manager
// starts and stops.
package provider

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/awslabs/operatorpkg/status"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	v1 "sigs.k8s.io/karpenter/pkg/apis/v1"
	"sigs.k8s.io/karpenter/pkg/cloudprovider"

	"testbed/karpenter/nodeclass"
	"testbed/karpenter/nodemanager"
)

const (
	// providerIDPrefix is the first part of a provider ID: testbed://ZONE/NAME.
	providerIDPrefix = "testbed://"
	// repairAfter is how long a node may be NotReady before Karpenter replaces it. A kubelet that restarts is Ready again within
	// seconds. The control plane itself notices a dead kubelet only after 50 s (--node-monitor-grace-period), and moves the pods
	// only after another 5 minutes (the default toleration of pods).
	repairAfter = time.Minute
)

// Provider implements cloudprovider.CloudProvider.
type Provider struct {
	kubeClient client.Client
	nodes      *nodemanager.Client
	exhausted  *exhaustedZones
}

var _ cloudprovider.CloudProvider = &Provider{}

// New returns a provider.
func New(kubeClient client.Client, nodes *nodemanager.Client, clock clock.PassiveClock) *Provider {
	return &Provider{kubeClient: kubeClient, nodes: nodes, exhausted: newExhaustedZones(clock)}
}

// Create launches a node for the claim: of the cheapest type that fits, in a zone that the claim allows. It tries another zone
// when one has no capacity.
func (p *Provider) Create(ctx context.Context, claim *v1.NodeClaim) (*v1.NodeClaim, error) {
	if err := p.checkClass(ctx, claim); err != nil {
		return nil, err
	}
	kinds, err := p.instanceTypes(ctx)
	if err != nil {
		return nil, cloudprovider.NewCreateError(err, "NodeManagerFailed", err.Error())
	}
	options, err := p.launchOptions(ctx, claim, kinds)
	if err != nil {
		return nil, cloudprovider.NewCreateError(err, "NodeManagerFailed", err.Error())
	}
	var refused []error
	for _, option := range options {
		if p.exhausted.has(option.zone) {
			continue
		}
		node, err := p.launch(ctx, claim, option)
		if err == nil {
			return nodeClaim(node, find(kinds, node.Type)), nil
		}
		var answer *nodemanager.Error
		if !errors.As(err, &answer) {
			// Karpenter repeats the call for the same claim, and plans no other node until it succeeds.
			return nil, cloudprovider.NewCreateError(err, "LaunchFailed", err.Error())
		}
		// A response with a status is final: Karpenter deletes the claim with an event, and plans anew.
		refused = append(refused, err)
		if answer.Status >= http.StatusInternalServerError {
			p.exhausted.add(option.zone)
		}
	}
	if len(refused) == 0 {
		refused = append(refused, errors.New("no type of node in any zone meets the requirements"))
	}
	return nil, cloudprovider.NewInsufficientCapacityError(errors.Join(refused...))
}

// Avoid makes the provider launch no node in a zone for a while, as after a launch that failed there.
func (p *Provider) Avoid(zone string) {
	p.exhausted.add(zone)
}

// checkClass returns an error unless the class of the claim is Ready.
func (p *Provider) checkClass(ctx context.Context, claim *v1.NodeClaim) error {
	class := &nodeclass.TestbedNodeClass{}
	err := p.kubeClient.Get(ctx, types.NamespacedName{Name: claim.Spec.NodeClassRef.Name}, class)
	switch {
	case apierrors.IsNotFound(err):
		// Karpenter deletes the claim, as for a class that is not Ready, instead of trying forever.
		return cloudprovider.NewInsufficientCapacityError(fmt.Errorf("the TestbedNodeClass does not exist, %w", err))
	case err != nil:
		return fmt.Errorf("reading the TestbedNodeClass, %w", err)
	}
	if ready := class.StatusConditions().Get(status.ConditionReady); !ready.IsTrue() {
		return cloudprovider.NewNodeClassNotReadyError(errors.New(ready.Message))
	}
	return nil
}

// launch starts the node. If the node exists, the answer to an earlier attempt for the same claim was lost.
func (p *Provider) launch(ctx context.Context, claim *v1.NodeClaim, option launchOption) (nodemanager.Node, error) {
	request := nodemanager.Request{
		Name:   claim.Name,
		Zone:   option.zone,
		Type:   option.instanceType.Name,
		Labels: kubeletLabels(claim, option),
		// NoExecute from the first moment on. Karpenter removes the taint once it has set the node's labels and taints.
		Taints: []nodemanager.Taint{taint(v1.UnregisteredNoExecuteTaint)},
	}
	for _, wanted := range slices.Concat(claim.Spec.Taints, claim.Spec.StartupTaints) {
		request.Taints = append(request.Taints, taint(wanted))
	}
	node, err := p.nodes.Launch(ctx, request)
	if hasStatus(err, http.StatusConflict) {
		existing, getErr := p.nodes.Node(ctx, claim.Name)
		if getErr != nil {
			return nodemanager.Node{}, getErr
		}
		if existing.Labels[v1.NodePoolLabelKey] == claim.Labels[v1.NodePoolLabelKey] {
			return existing, nil
		}
	}
	return node, err
}

// kubeletLabels returns the labels that the kubelet registers the node with: those of the claim, without those of Kubernetes'
// own domains, which a kubelet may not set. Karpenter adds the others when the node registers.
func kubeletLabels(claim *v1.NodeClaim, option launchOption) map[string]string {
	labels := map[string]string{v1.CapacityTypeLabelKey: option.capacityType}
	for key, value := range claim.Labels {
		domain := v1.GetLabelDomain(key)
		if !strings.HasSuffix(domain, "kubernetes.io") && !strings.HasSuffix(domain, "k8s.io") {
			labels[key] = value
		}
	}
	return labels
}

func taint(wanted corev1.Taint) nodemanager.Taint {
	return nodemanager.Taint{Key: wanted.Key, Value: wanted.Value, Effect: string(wanted.Effect)}
}

// Delete waits up to 5 s until the kubelet has deleted the stopped pods, stops the node, and deletes its Node object. When it
// returns, nothing of the node is left, so it reports that the instance is gone.
//
// Karpenter deletes the Node object only of a node that it has registered. For the others it relies on the node controller of
// the cloud, which the testbed does not have.
func (p *Provider) Delete(ctx context.Context, claim *v1.NodeClaim) error {
	name, err := nodeName(claim.Status.ProviderID)
	if err != nil {
		return err
	}
	if err := p.waitForStoppedPods(ctx, name); err != nil {
		return err
	}
	if err := p.nodes.Remove(ctx, name); err != nil && !hasStatus(err, http.StatusNotFound) {
		return err
	}
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if err := p.kubeClient.Delete(ctx, node); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("deleting the Node object, %w", err)
	}
	return cloudprovider.NewNodeClaimNotFoundError(fmt.Errorf("the node %s is stopped", name))
}

// Get returns the claim of a node.
func (p *Provider) Get(ctx context.Context, providerID string) (*v1.NodeClaim, error) {
	name, err := nodeName(providerID)
	if err != nil {
		return nil, err
	}
	node, err := p.nodes.Node(ctx, name)
	if err != nil {
		return nil, notFound(err)
	}
	kinds, err := p.instanceTypes(ctx)
	if err != nil {
		return nil, err
	}
	return nodeClaim(node, find(kinds, node.Type)), nil
}

// List returns the claims of all nodes that Karpenter has launched, and of no node that was added by hand.
func (p *Provider) List(ctx context.Context) ([]*v1.NodeClaim, error) {
	nodes, err := p.nodes.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	kinds, err := p.instanceTypes(ctx)
	if err != nil {
		return nil, err
	}
	var claims []*v1.NodeClaim
	for _, node := range nodes {
		if _, ours := node.Labels[v1.NodePoolLabelKey]; ours {
			claims = append(claims, nodeClaim(node, find(kinds, node.Type)))
		}
	}
	return claims, nil
}

// nodeClaim describes a node as Karpenter expects it. The type is nil if the node manager does not list it any more.
func nodeClaim(node nodemanager.Node, instanceType *cloudprovider.InstanceType) *v1.NodeClaim {
	claim := &v1.NodeClaim{
		ObjectMeta: metav1.ObjectMeta{
			Name:              node.Name,
			CreationTimestamp: metav1.NewTime(node.Created),
			Labels: map[string]string{
				corev1.LabelTopologyZone:       node.Zone,
				corev1.LabelTopologyRegion:     region,
				corev1.LabelInstanceTypeStable: node.Type,
				corev1.LabelArchStable:         architecture,
				corev1.LabelOSStable:           string(corev1.Linux),
				v1.CapacityTypeLabelKey:        v1.CapacityTypeOnDemand,
			},
		},
		Status: v1.NodeClaimStatus{ProviderID: node.ProviderID},
	}
	if pool, ok := node.Labels[v1.NodePoolLabelKey]; ok {
		claim.Labels[v1.NodePoolLabelKey] = pool
	}
	if instanceType != nil {
		claim.Status.Capacity = instanceType.Capacity
		claim.Status.Allocatable = instanceType.Allocatable()
	}
	return claim
}

func nodeName(providerID string) (string, error) {
	zoneAndName, isOurs := strings.CutPrefix(providerID, providerIDPrefix)
	_, name, hasZone := strings.Cut(zoneAndName, "/")
	if !isOurs || !hasZone || name == "" {
		return "", fmt.Errorf("the provider ID %q is not %sZONE/NAME", providerID, providerIDPrefix)
	}
	return name, nil
}

func hasStatus(err error, status int) bool {
	var answer *nodemanager.Error
	return errors.As(err, &answer) && answer.Status == status
}

// notFound marks the answer 404 as Karpenter expects it, and returns other errors unchanged.
func notFound(err error) error {
	if hasStatus(err, http.StatusNotFound) {
		return cloudprovider.NewNodeClaimNotFoundError(err)
	}
	return err
}

// IsDrifted returns no reason: the nodes of the testbed have no settings that can change after the launch.
func (p *Provider) IsDrifted(context.Context, *v1.NodeClaim) (cloudprovider.DriftReason, error) {
	return "", nil
}

// RepairPolicies makes Karpenter replace nodes that stay NotReady, if the feature gate NodeRepair is on.
func (p *Provider) RepairPolicies() []cloudprovider.RepairPolicy {
	return []cloudprovider.RepairPolicy{
		// The kubelet reports that it is not ready.
		{ConditionType: corev1.NodeReady, ConditionStatus: corev1.ConditionFalse, TolerationDuration: repairAfter},
		// The kubelet reports nothing.
		{ConditionType: corev1.NodeReady, ConditionStatus: corev1.ConditionUnknown, TolerationDuration: repairAfter},
	}
}

// Name returns the name of the provider, as in Karpenter's logs and metrics.
func (p *Provider) Name() string {
	return "testbed"
}

// GetSupportedNodeClasses returns the kind that a NodePool may refer to.
func (p *Provider) GetSupportedNodeClasses() []status.Object {
	return []status.Object{&nodeclass.TestbedNodeClass{}}
}
