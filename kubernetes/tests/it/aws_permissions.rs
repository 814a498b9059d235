//! The permissions that the clusters on EKS give to their pods. docs/eks.md says for each action who needs it.

use crate::rendered::cluster;
use manifests::{
    objects::{list, text},
    render,
};
use serde_json::Value;
use std::{collections::BTreeSet, fs};

/// The policies of `cluster`: the service account, and the statements.
fn policies(cluster: &Value) -> impl Iterator<Item = (&str, &[Value])> {
    list(cluster, "/iam/podIdentityAssociations")
        .iter()
        .map(|association| {
            let account = text(association, "/serviceAccountName");
            (account, list(association, "/permissionPolicy/Statement"))
        })
}

fn texts<'value>(statement: &'value Value, field: &str) -> impl Iterator<Item = &'value str> {
    list(statement, field).iter().filter_map(Value::as_str)
}

#[test]
fn each_action_is_in_the_documentation() {
    let path = render::root().join("../docs/eks.md");
    let documentation = fs::read_to_string(path).expect("readable");
    // Rows such as: | karpenter | `ec2:RunInstances`, `ec2:CreateFleet` | … |
    let mut documented = BTreeSet::new();
    for row in documentation.lines() {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        if let [
            _,
            account @ ("karpenter" | "aws-load-balancer-controller"),
            actions,
            _,
            _,
            _,
        ] = cells[..]
        {
            let actions = actions.split(',').map(|action| action.trim().trim_matches('`'));
            documented.extend(actions.map(|action| (account.to_owned(), action.to_owned())));
        }
    }
    let allowed: BTreeSet<_> = policies(cluster("prod"))
        .flat_map(|(account, statements)| {
            let actions = statements
                .iter()
                .flat_map(|statement| texts(statement, "/Action"));
            actions.map(move |action| (account.to_owned(), action.to_owned()))
        })
        .collect();
    assert!(allowed.len() > 50, "{allowed:?}");
    assert_eq!(documented, allowed);
}

#[test]
fn permissions_are_for_single_actions_on_the_resources_of_the_cluster() {
    for (account, statements) in policies(cluster("prod")) {
        for statement in statements {
            let what = format!("{account}: {}", text(statement, "/Sid"));
            assert_eq!(statement["Effect"], "Allow", "{what}");
            for action in texts(statement, "/Action") {
                assert!(!action.contains('*'), "{what}: {action}");
                let (_, name) = action.split_once(':').expect("a service");
                let only_reads = ["Describe", "Get", "List"]
                    .iter()
                    .any(|verb| name.starts_with(verb));
                for resource in texts(statement, "/Resource") {
                    if resource == "*" {
                        assert!(only_reads, "{what}: {action} on every resource");
                    }
                    // Whatever belongs to no cluster by its name or by a condition can only be read.
                    let of_the_cluster = resource.contains("${aws:PrincipalTag/eks-cluster-name}")
                        || statement["Condition"]
                            .to_string()
                            .contains("${aws:PrincipalTag/eks-cluster-name}");
                    let is_public =
                        resource.starts_with("arn:aws:ec2:*::") || resource.contains("/aws-service-role/");
                    assert!(
                        of_the_cluster || is_public || only_reads,
                        "{what}: {action} on {resource} of any cluster"
                    );
                }
            }
        }
    }
}

/// The nodes have no permission of the VPC CNI, and no pod can read their credentials.
#[test]
fn the_nodes_have_the_permissions_of_a_node_alone() {
    let group = &cluster("prod")["managedNodeGroups"][0];
    let policies: BTreeSet<_> = texts(group, "/iam/attachPolicyARNs").collect();
    let expected = ["AmazonEC2ContainerRegistryPullOnly", "AmazonEKSWorkerNodePolicy"];
    let expected = expected.map(|name| format!("arn:aws:iam::aws:policy/{name}"));
    assert_eq!(policies, expected.iter().map(String::as_str).collect());
    assert_eq!(group["disablePodIMDS"], true);
}
