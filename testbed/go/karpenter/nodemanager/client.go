// Package nodemanager is the client of the testbed's node manager: HTTP with JSON over a unix socket.
package nodemanager

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"
)

// The deadline of a request. The removal of a node, the slowest, waits until its processes, mounts and network are gone.
const deadline = time.Minute

// Type is a type of node. CPU and memory are what the node offers to pods (its allocatable resources).
type Type struct {
	Name   string  `json:"name"`
	CPU    string  `json:"cpu"`
	Memory string  `json:"memory"`
	Pods   int64   `json:"pods"`
	Price  float64 `json:"price"`
}

// Zone is a zone of the testbed. Its fault, if any, is not part of this type: a cloud does not announce one either.
type Zone struct {
	Name string `json:"name"`
}

// Taint is a taint that the kubelet registers the node with.
type Taint struct {
	Key    string `json:"key"`
	Value  string `json:"value"`
	Effect string `json:"effect"`
}

// Request asks for a node.
type Request struct {
	Name   string            `json:"name"`
	Zone   string            `json:"zone"`
	Type   string            `json:"type"`
	Labels map[string]string `json:"labels"`
	Taints []Taint           `json:"taints"`
}

// Node is a node that the node manager has launched. It joins the cluster later.
type Node struct {
	Name       string            `json:"name"`
	Zone       string            `json:"zone"`
	Type       string            `json:"type"`
	ProviderID string            `json:"providerID"`
	State      string            `json:"state"`
	Message    string            `json:"message"`
	Created    time.Time         `json:"created"`
	Labels     map[string]string `json:"labels"`
}

// Error is an answer of the node manager with another status than success.
type Error struct {
	// Status is the HTTP status: 400 bad request, 404 no such node, 409 the name exists, 503 no capacity in the zone.
	Status  int
	Message string
}

func (e *Error) Error() string {
	return fmt.Sprintf("the node manager answers %d: %s", e.Status, e.Message)
}

// Client calls the node manager.
type Client struct {
	http *http.Client
}

// NewClient returns a client that dials the socket for each connection, so that a restart of the node manager needs no new client.
func NewClient(socket string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}
	return &Client{http: &http.Client{Transport: &http.Transport{DialContext: dial}, Timeout: deadline}}
}

// Ping returns an error unless the node manager answers.
func (c *Client) Ping(ctx context.Context) error {
	_, err := c.Types(ctx)
	return err
}

// Types returns the types of nodes.
func (c *Client) Types(ctx context.Context) ([]Type, error) {
	var types []Type
	err := c.call(ctx, http.MethodGet, "/types", nil, &types)
	return types, err
}

// Zones returns the zones.
func (c *Client) Zones(ctx context.Context) ([]Zone, error) {
	var zones []Zone
	err := c.call(ctx, http.MethodGet, "/zones", nil, &zones)
	return zones, err
}

// Nodes returns the added nodes that exist, also those that were added by hand.
func (c *Client) Nodes(ctx context.Context) ([]Node, error) {
	var nodes []Node
	err := c.call(ctx, http.MethodGet, "/nodes", nil, &nodes)
	return nodes, err
}

// Node returns one added node. The status of the error is 404 if it does not exist.
func (c *Client) Node(ctx context.Context, name string) (Node, error) {
	var node Node
	err := c.call(ctx, http.MethodGet, "/nodes/"+url.PathEscape(name), nil, &node)
	return node, err
}

// Launch starts a node, and returns before it joins the cluster.
func (c *Client) Launch(ctx context.Context, request Request) (Node, error) {
	var node Node
	err := c.call(ctx, http.MethodPost, "/nodes", request, &node)
	return node, err
}

// Remove stops a node, and returns when nothing of it is left.
func (c *Client) Remove(ctx context.Context, name string) error {
	return c.call(ctx, http.MethodDelete, "/nodes/"+url.PathEscape(name), nil, nil)
}

// call sends a request, and reads the answer into the value that answer points to, unless that is nil.
func (c *Client) call(ctx context.Context, method, path string, body, answer any) error {
	var content io.Reader
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return fmt.Errorf("encoding the request to the node manager, %w", err)
		}
		content = bytes.NewReader(encoded)
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://nodes"+path, content)
	if err != nil {
		return fmt.Errorf("asking the node manager, %w", err)
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := c.http.Do(request)
	if err != nil {
		return fmt.Errorf("asking the node manager, %w", err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return fmt.Errorf("reading the answer of the node manager, %w", err)
	}
	if response.StatusCode >= 300 {
		failure := &Error{Status: response.StatusCode, Message: string(text)}
		var described struct {
			Message string `json:"message"`
		}
		if json.Unmarshal(text, &described) == nil && described.Message != "" {
			failure.Message = described.Message
		}
		return failure
	}
	if answer == nil {
		return nil
	}
	if err := json.Unmarshal(text, answer); err != nil {
		return fmt.Errorf("decoding the answer of the node manager to %s %s, %w", method, path, err)
	}
	return nil
}
