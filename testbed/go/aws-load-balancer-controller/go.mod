module testbed/aws-load-balancer-controller

go 1.26.5

// Version 3.2.2. The Go proxy has no tags of it, because the path of the module lacks the major version.
require sigs.k8s.io/aws-load-balancer-controller v0.0.0-20260423195125-93ff3b5fdaad
