// Package nodeclass has the kind TestbedNodeClass. Karpenter requires that a NodePool refers to a class of nodes, and launches
// nodes only while the class is Ready.
package nodeclass

import (
	"github.com/awslabs/operatorpkg/status"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"
	v1 "sigs.k8s.io/karpenter/pkg/apis/v1"
)

const (
	// Group is the API group of TestbedNodeClass.
	Group = "karpenter.testbed.local"
	// ConditionNodeManager says whether the testbed's node manager answers. Ready follows from it.
	ConditionNodeManager = "NodeManagerReachable"
)

// TestbedNodeClass is the class of the testbed's nodes. It has no settings: the node manager defines the types of nodes.
type TestbedNodeClass struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Status Status `json:"status,omitempty"`
}

// Status is what the controller of this package has observed.
type Status struct {
	Conditions []status.Condition `json:"conditions,omitempty"`
}

// List is the list kind that clients of the API server need.
type List struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []TestbedNodeClass `json:"items"`
}

func init() {
	version := schema.GroupVersion{Group: Group, Version: "v1alpha1"}
	metav1.AddToGroupVersion(scheme.Scheme, version)
	scheme.Scheme.AddKnownTypeWithName(version.WithKind("TestbedNodeClass"), &TestbedNodeClass{})
	scheme.Scheme.AddKnownTypeWithName(version.WithKind("TestbedNodeClassList"), &List{})
	// A NodePool may not set labels of this group. Karpenter sets one itself, with the name of the class.
	v1.RestrictedLabelDomains = v1.RestrictedLabelDomains.Insert(Group)
}

// StatusConditions implements status.Object.
func (in *TestbedNodeClass) StatusConditions(options ...status.ForOption) status.ConditionSet {
	return status.NewReadyConditions(ConditionNodeManager).For(in, options...)
}

// GetConditions implements status.Object.
func (in *TestbedNodeClass) GetConditions() []status.Condition {
	return in.Status.Conditions
}

// SetConditions implements status.Object.
func (in *TestbedNodeClass) SetConditions(conditions []status.Condition) {
	in.Status.Conditions = conditions
}

// DeepCopyObject implements runtime.Object.
func (in *TestbedNodeClass) DeepCopyObject() runtime.Object {
	return in.DeepCopy()
}

// DeepCopy copies the object and everything that it refers to.
func (in *TestbedNodeClass) DeepCopy() *TestbedNodeClass {
	out := &TestbedNodeClass{TypeMeta: in.TypeMeta}
	in.ObjectMeta.DeepCopyInto(&out.ObjectMeta)
	for _, condition := range in.Status.Conditions {
		out.Status.Conditions = append(out.Status.Conditions, *condition.DeepCopy())
	}
	return out
}

// DeepCopyObject implements runtime.Object.
func (in *List) DeepCopyObject() runtime.Object {
	out := &List{TypeMeta: in.TypeMeta}
	in.ListMeta.DeepCopyInto(&out.ListMeta)
	for i := range in.Items {
		out.Items = append(out.Items, *in.Items[i].DeepCopy())
	}
	return out
}
