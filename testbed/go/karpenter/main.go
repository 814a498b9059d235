// Karpenter for the testbed: Karpenter's own controllers, with a cloud provider whose instances are nodes of the testbed.
package main

import (
	"sigs.k8s.io/karpenter/pkg/cloudprovider/overlay"
	"sigs.k8s.io/karpenter/pkg/controllers"
	"sigs.k8s.io/karpenter/pkg/controllers/state"
	"sigs.k8s.io/karpenter/pkg/operator"

	"testbed/karpenter/lostnodes"
	"testbed/karpenter/nodeclass"
	"testbed/karpenter/nodemanager"
	"testbed/karpenter/provider"
)

// The socket of the testbed's node manager. The pod mounts its folder from the node.
const socket = "/run/testbed/nodes.sock"

func main() {
	ctx, op := operator.NewOperator()
	nodes := nodemanager.NewClient(socket)
	testbed := provider.New(op.GetClient(), nodes, op.Clock)
	// Applies the NodeOverlays of the cluster, if the feature gate is on.
	overlaid := overlay.Decorate(testbed, op.GetClient(), op.InstanceTypeStore)
	core := controllers.NewControllers(
		ctx,
		op.Manager,
		op.Clock,
		op.GetClient(),
		op.EventRecorder,
		overlaid,
		testbed,
		state.NewCluster(op.Clock, op.GetClient(), overlaid),
		op.InstanceTypeStore,
	)
	op.
		WithControllers(ctx, core...).
		WithControllers(ctx,
			nodeclass.NewController(op.GetClient(), nodes),
			lostnodes.NewController(op.GetClient(), nodes, testbed, op.Clock),
		).
		Start(ctx)
}
