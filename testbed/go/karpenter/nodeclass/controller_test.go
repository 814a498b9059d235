package nodeclass

import (
	"context"
	"errors"
	"os"
	"testing"

	"github.com/awslabs/operatorpkg/status"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/yaml"
)

type nodeManager struct{ failure error }

func (n *nodeManager) Ping(context.Context) error { return n.failure }

func TestTheClassIsReadyWhileTheNodeManagerAnswers(t *testing.T) {
	ctx := context.Background()
	class := &TestbedNodeClass{ObjectMeta: metav1.ObjectMeta{Name: "default"}}
	kubeClient := fake.NewClientBuilder().WithScheme(scheme.Scheme).WithObjects(class).WithStatusSubresource(class).Build()
	nodes := &nodeManager{}
	controller := NewController(kubeClient, nodes)
	for _, failure := range []error{nil, errors.New("no such socket"), nil} {
		nodes.failure = failure
		stored := &TestbedNodeClass{}
		if err := kubeClient.Get(ctx, client.ObjectKeyFromObject(class), stored); err != nil {
			t.Fatal(err)
		}
		result, err := controller.Reconcile(ctx, stored)
		if err != nil || result.RequeueAfter == 0 {
			t.Fatalf("%v, next check after %v", err, result.RequeueAfter)
		}
		if err := kubeClient.Get(ctx, client.ObjectKeyFromObject(class), stored); err != nil {
			t.Fatal(err)
		}
		ready := stored.StatusConditions().Get(status.ConditionReady)
		if ready.IsTrue() != (failure == nil) {
			t.Errorf("node manager: %v, Ready: %+v", failure, ready)
		}
	}
}

func TestTheDefinitionIsThatOfTheType(t *testing.T) {
	text, err := os.ReadFile("../crds/testbednodeclasses.yaml")
	if err != nil {
		t.Fatal(err)
	}
	definition := &apiextensions.CustomResourceDefinition{}
	if err := yaml.UnmarshalStrict(text, definition); err != nil {
		t.Fatal(err)
	}
	kinds, _, err := scheme.Scheme.ObjectKinds(&TestbedNodeClass{})
	if err != nil {
		t.Fatal(err)
	}
	spec := definition.Spec
	if kinds[0].Group != spec.Group || kinds[0].Kind != spec.Names.Kind || kinds[0].Version != spec.Versions[0].Name {
		t.Errorf("the type is %v, the definition has %s %s %s", kinds[0], spec.Group, spec.Versions[0].Name, spec.Names.Kind)
	}
}
