// Package lostnodes removes nodes and claims of which the other half is lost, as the providers of clouds do. Karpenter itself
// notices a lost node only after two minutes, and a node that does not join only after 15.
package lostnodes

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/awslabs/operatorpkg/reconciler"
	"github.com/awslabs/operatorpkg/singleton"
	"k8s.io/utils/clock"
	controllerruntime "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	v1 "sigs.k8s.io/karpenter/pkg/apis/v1"

	"testbed/karpenter/nodemanager"
)

const (
	// interval is the time between two comparisons. A cloud reports a terminated instance by an event, within seconds.
	interval = 2 * time.Second
	// joinWithin is how long a launched node may take to join the cluster. It takes 3 s on an idle machine.
	joinWithin = 30 * time.Second
	// grace is how old a node without a claim must be. The controller reads the claims from a cache, a moment late.
	grace = time.Minute
	// failed is the state of a node that runs and cannot join the cluster.
	failed = "failed"
)

// NodeManager is what the controller needs of the node manager.
type NodeManager interface {
	// Nodes returns the added nodes that exist, also those that were added by hand.
	Nodes(context.Context) ([]nodemanager.Node, error)
	// Remove stops a node.
	Remove(context.Context, string) error
}

// Zones is what the controller needs of the cloud provider.
type Zones interface {
	// Avoid makes the provider launch no node in a zone for a while.
	Avoid(zone string)
}

// Controller compares the nodes with the claims.
type Controller struct {
	kubeClient client.Client
	nodes      NodeManager
	zones      Zones
	clock      clock.PassiveClock
}

// NewController returns a controller that is not registered yet.
func NewController(kubeClient client.Client, nodes NodeManager, zones Zones, clock clock.PassiveClock) *Controller {
	return &Controller{kubeClient: kubeClient, nodes: nodes, zones: zones, clock: clock}
}

// Register adds the controller to the manager.
func (c *Controller) Register(_ context.Context, m manager.Manager) error {
	return controllerruntime.NewControllerManagedBy(m).
		Named("lostnodes").
		WatchesRawSource(singleton.Source()).
		Complete(singleton.AsReconciler(c))
}

// Reconcile deletes claims whose node is gone or does not join, so that Karpenter plans another one, and removes nodes that no
// claim knows. The replacement of a node that does not join starts in another zone, if the pods permit it.
func (c *Controller) Reconcile(ctx context.Context) (reconciler.Result, error) {
	claims := &v1.NodeClaimList{}
	if err := c.kubeClient.List(ctx, claims); err != nil {
		return reconciler.Result{}, fmt.Errorf("listing the claims, %w", err)
	}
	// After the claims: a node is launched for a claim that exists.
	nodes, err := c.nodes.Nodes(ctx)
	if err != nil {
		return reconciler.Result{}, err
	}
	found := map[string]nodemanager.Node{}
	for _, node := range nodes {
		found[node.Name] = node
	}
	var failures []error
	for _, claim := range claims.Items {
		node, exists := found[claim.Name]
		delete(found, claim.Name)
		if claim.Status.ProviderID == "" || !claim.DeletionTimestamp.IsZero() {
			continue
		}
		registered := claim.StatusConditions().Get(v1.ConditionTypeRegistered).IsTrue()
		late := node.State == failed || c.clock.Since(node.Created) > joinWithin
		switch {
		case !exists:
			log.FromContext(ctx).Info("deleting a claim whose node is gone", "claim", claim.Name)
		case !registered && late:
			log.FromContext(ctx).Info("deleting a claim whose node does not join", "claim", claim.Name, "message", node.Message)
			c.zones.Avoid(node.Zone)
		default:
			continue
		}
		failures = append(failures, client.IgnoreNotFound(c.kubeClient.Delete(ctx, &claim)))
	}
	for _, node := range found {
		if _, ours := node.Labels[v1.NodePoolLabelKey]; ours && c.clock.Since(node.Created) > grace {
			log.FromContext(ctx).Info("removing a node without a claim", "node", node.Name)
			failures = append(failures, c.nodes.Remove(ctx, node.Name))
		}
	}
	return reconciler.Result{RequeueAfter: interval}, errors.Join(failures...)
}
