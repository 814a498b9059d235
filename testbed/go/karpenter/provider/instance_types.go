package provider

import (
	"cmp"
	"context"
	"fmt"
	"runtime"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	v1 "sigs.k8s.io/karpenter/pkg/apis/v1"
	"sigs.k8s.io/karpenter/pkg/cloudprovider"
	"sigs.k8s.io/karpenter/pkg/scheduling"
	"sigs.k8s.io/karpenter/pkg/utils/resources"

	"testbed/karpenter/nodemanager"
)

// region is the region of all zones.
const region = "testbed"

// architecture is that of this machine, in the terms of Kubernetes, which are those of Go.
const architecture = runtime.GOARCH

// GetInstanceTypes returns the types of nodes, with an offering for each zone. A zone without capacity stays in the list of
// offerings, but is not available.
func (p *Provider) GetInstanceTypes(ctx context.Context, _ *v1.NodePool) ([]*cloudprovider.InstanceType, error) {
	return p.instanceTypes(ctx)
}

func (p *Provider) instanceTypes(ctx context.Context) ([]*cloudprovider.InstanceType, error) {
	types, err := p.nodes.Types(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the types of nodes, %w", err)
	}
	zones, err := p.nodes.Zones(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the zones, %w", err)
	}
	var instanceTypes []*cloudprovider.InstanceType
	for _, kind := range types {
		instanceType, err := p.instanceType(kind, zones)
		if err != nil {
			return nil, fmt.Errorf("type %s, %w", kind.Name, err)
		}
		instanceTypes = append(instanceTypes, instanceType)
	}
	return instanceTypes, nil
}

func (p *Provider) instanceType(kind nodemanager.Type, zones []nodemanager.Zone) (*cloudprovider.InstanceType, error) {
	cpu, err := resource.ParseQuantity(kind.CPU)
	if err != nil {
		return nil, fmt.Errorf("cpu, %w", err)
	}
	memory, err := resource.ParseQuantity(kind.Memory)
	if err != nil {
		return nil, fmt.Errorf("memory, %w", err)
	}
	var offerings cloudprovider.Offerings
	var available []string
	for _, zone := range zones {
		isAvailable := !p.exhausted.has(zone.Name)
		if isAvailable {
			available = append(available, zone.Name)
		}
		offerings = append(offerings, &cloudprovider.Offering{
			Requirements: scheduling.NewRequirements(
				scheduling.NewRequirement(v1.CapacityTypeLabelKey, corev1.NodeSelectorOpIn, v1.CapacityTypeOnDemand),
				scheduling.NewRequirement(corev1.LabelTopologyZone, corev1.NodeSelectorOpIn, zone.Name),
			),
			Price:     kind.Price,
			Available: isAvailable,
		})
	}
	return &cloudprovider.InstanceType{
		Name: kind.Name,
		// Karpenter requires each well-known label. A label that no node has does not exist.
		Requirements: scheduling.NewRequirements(
			scheduling.NewRequirement(corev1.LabelInstanceTypeStable, corev1.NodeSelectorOpIn, kind.Name),
			scheduling.NewRequirement(corev1.LabelArchStable, corev1.NodeSelectorOpIn, architecture),
			scheduling.NewRequirement(corev1.LabelOSStable, corev1.NodeSelectorOpIn, string(corev1.Linux)),
			scheduling.NewRequirement(corev1.LabelTopologyRegion, corev1.NodeSelectorOpIn, region),
			// Only the available zones: Karpenter spreads pods over the zones in this list.
			scheduling.NewRequirement(corev1.LabelTopologyZone, corev1.NodeSelectorOpIn, available...),
			scheduling.NewRequirement(v1.CapacityTypeLabelKey, corev1.NodeSelectorOpIn, v1.CapacityTypeOnDemand),
			scheduling.NewRequirement(corev1.LabelWindowsBuild, corev1.NodeSelectorOpDoesNotExist),
		),
		Offerings: offerings,
		// The type states what the node offers to pods. What the kubelet reserves is already subtracted, so the overhead is zero and
		// Karpenter's simulation agrees with the node.
		Capacity: corev1.ResourceList{
			corev1.ResourceCPU:    cpu,
			corev1.ResourceMemory: memory,
			corev1.ResourcePods:   *resource.NewQuantity(kind.Pods, resource.DecimalSI),
			// Karpenter subtracts the resources of each planned node from the limits of the NodePool. Without this one, the limit of
			// nodes would not hold within a plan.
			resources.Node: *resource.NewQuantity(1, resource.DecimalSI),
		},
		Overhead: &cloudprovider.InstanceTypeOverhead{},
	}, nil
}

// find returns the type with this name, or nil.
func find(types []*cloudprovider.InstanceType, name string) *cloudprovider.InstanceType {
	for _, candidate := range types {
		if candidate.Name == name {
			return candidate
		}
	}
	return nil
}

// launchOption is a node that would meet the requirements of a claim.
type launchOption struct {
	instanceType *cloudprovider.InstanceType
	zone         string
	capacityType string
	price        float64
	nodesInZone  int
}

// nodesInZones returns the number of nodes in each zone: those that join or have joined, and the first node of the testbed, which
// the node manager does not list.
func (p *Provider) nodesInZones(ctx context.Context) (map[string]int, error) {
	launched, err := p.nodes.Nodes(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing the nodes, %w", err)
	}
	registered := &corev1.NodeList{}
	if err := p.kubeClient.List(ctx, registered); err != nil {
		return nil, fmt.Errorf("listing the Node objects, %w", err)
	}
	zones := map[string]string{}
	for _, node := range registered.Items {
		zones[node.Name] = node.Labels[corev1.LabelTopologyZone]
	}
	for _, node := range launched {
		zones[node.Name] = node.Zone
	}
	counts := map[string]int{}
	for _, zone := range zones {
		counts[zone]++
	}
	return counts, nil
}

// launchOptions returns the options for a claim: the cheapest first, and of the same price those in the zone with the fewest
// nodes first.
func (p *Provider) launchOptions(ctx context.Context, claim *v1.NodeClaim, kinds []*cloudprovider.InstanceType) ([]launchOption, error) {
	nodesInZone, err := p.nodesInZones(ctx)
	if err != nil {
		return nil, err
	}
	requirements := scheduling.NewNodeSelectorRequirementsWithMinValues(claim.Spec.Requirements...)
	var options []launchOption
	for _, kind := range kinds {
		fits := resources.Fits(claim.Spec.Resources.Requests, kind.Allocatable())
		if !fits || requirements.Intersects(kind.Requirements) != nil {
			continue
		}
		for _, offering := range kind.Offerings.Available().Compatible(requirements) {
			options = append(options, launchOption{
				instanceType: kind,
				zone:         offering.Zone(),
				capacityType: offering.CapacityType(),
				price:        offering.Price,
				nodesInZone:  nodesInZone[offering.Zone()],
			})
		}
	}
	slices.SortStableFunc(options, func(a, b launchOption) int {
		return cmp.Or(cmp.Compare(a.price, b.price), cmp.Compare(a.nodesInZone, b.nodesInZone))
	})
	return options, nil
}
