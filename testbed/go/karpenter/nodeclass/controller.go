package nodeclass

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// The time between two checks of the node manager: an outage shows in the class within it, and a check costs a read of a socket.
const checkInterval = 10 * time.Second

// NodeManager is what the controller checks.
type NodeManager interface {
	// Ping returns an error unless the node manager answers.
	Ping(context.Context) error
}

// Controller keeps the condition Ready of each TestbedNodeClass up to date.
type Controller struct {
	kubeClient client.Client
	nodes      NodeManager
}

// NewController returns a controller that is not registered yet.
func NewController(kubeClient client.Client, nodes NodeManager) *Controller {
	return &Controller{kubeClient: kubeClient, nodes: nodes}
}

// Register adds the controller to the manager.
func (c *Controller) Register(_ context.Context, m manager.Manager) error {
	return builder.ControllerManagedBy(m).
		Named("testbednodeclass").
		// Only the creation starts a reconciliation: the class has no settings, and the interval does the rest.
		For(&TestbedNodeClass{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Complete(reconcile.AsReconciler(m.GetClient(), c))
}

// Reconcile checks the node manager, and writes the result into the status of the class.
func (c *Controller) Reconcile(ctx context.Context, class *TestbedNodeClass) (reconcile.Result, error) {
	stored := class.DeepCopy()
	conditions := class.StatusConditions()
	if err := c.nodes.Ping(ctx); err != nil {
		conditions.SetFalse(ConditionNodeManager, "NoAnswer", err.Error())
	} else {
		conditions.SetTrue(ConditionNodeManager)
	}
	if !equality.Semantic.DeepEqual(stored.Status, class.Status) {
		if err := c.kubeClient.Status().Patch(ctx, class, client.MergeFrom(stored)); err != nil {
			return reconcile.Result{}, client.IgnoreNotFound(err)
		}
	}
	return reconcile.Result{RequeueAfter: checkInterval}, nil
}
