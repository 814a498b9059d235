// Reads the file of a cluster from standard input as `eksctl create cluster -f` does: strictly, with eksctl's validation and defaults.
// Prints the completed file as JSON. It calls eksctl's package of types alone, because its commands contain every client of AWS.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	api "github.com/weaveworks/eksctl/pkg/apis/eksctl.io/v1alpha5"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	data, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	config, err := read(data)
	if err != nil {
		return err
	}
	if err := complete(config); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(config)
}

// As ParseConfig of eksctl's package eks: the strict reader finds unknown fields, the other one another version or kind.
func read(data []byte) (*api.ClusterConfig, error) {
	if err := yaml.UnmarshalStrict(data, &api.ClusterConfig{}); err != nil {
		return nil, err
	}
	if err := api.Register(); err != nil {
		return nil, err
	}
	object, err := runtime.Decode(scheme.Codecs.UniversalDeserializer(), data)
	if err != nil {
		return nil, err
	}
	config, ok := object.(*api.ClusterConfig)
	if !ok {
		return nil, fmt.Errorf("%T is not a ClusterConfig", object)
	}
	return config, nil
}

// The order of `eksctl create cluster`.
func complete(config *api.ClusterConfig) error {
	if config.Metadata == nil || config.Metadata.Name == "" || config.Metadata.Region == "" {
		return errors.New("metadata.name and metadata.region must be set")
	}
	if config.VPC == nil {
		config.VPC = api.NewClusterVPC(config.IPv6Enabled())
	}
	if config.VPC.NAT == nil {
		config.VPC.NAT = api.DefaultClusterNAT()
	}
	api.SetClusterEndpointAccessDefaults(config.VPC)
	for _, addon := range config.Addons {
		if err := addon.Validate(); err != nil {
			return err
		}
	}
	api.SetClusterConfigDefaults(config)
	// eksctl checks these as it checks those of an add-on, in a package of its commands.
	associations := api.Addon{Name: "iam", PodIdentityAssociations: &config.IAM.PodIdentityAssociations}
	if err := associations.Validate(); err != nil {
		return err
	}
	if err := api.ValidateClusterConfig(config); err != nil {
		return err
	}
	for index, group := range config.ManagedNodeGroups {
		if err := api.SetManagedNodeGroupDefaults(group, config.Metadata, config.IsControlPlaneOnOutposts()); err != nil {
			return err
		}
		if err := api.ValidateManagedNodeGroup(index, group); err != nil {
			return err
		}
	}
	return nil
}
