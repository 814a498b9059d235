package provider

import (
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"testbed/karpenter/nodemanager"
)

// fakeNodeManager answers as the testbed's node manager does, from memory, on a socket of its own.
type fakeNodeManager struct {
	mutex sync.Mutex
	nodes []nodemanager.Node
	// refusals has the status that a launch in a zone answers, for zones where it fails.
	refusals map[string]int
	// requests has every launch that was asked for, in order.
	requests []nodemanager.Request
}

func startNodeManager(t *testing.T) (*fakeNodeManager, *nodemanager.Client) {
	t.Helper()
	fake := &fakeNodeManager{}
	socket := filepath.Join(t.TempDir(), "nodes.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(fake.routes())
	server.Listener.Close()
	server.Listener = listener
	server.Start()
	t.Cleanup(server.Close)
	return fake, nodemanager.NewClient(socket)
}

func (f *fakeNodeManager) routes() http.Handler {
	routes := http.NewServeMux()
	routes.HandleFunc("GET /types", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, []nodemanager.Type{
			// The cheapest is not the first.
			{Name: "large", CPU: "1200m", Memory: "2Gi", Pods: 80, Price: 0.04},
			{Name: "small", CPU: "300m", Memory: "512Mi", Pods: 20, Price: 0.01},
			{Name: "medium", CPU: "600m", Memory: "1Gi", Pods: 40, Price: 0.02},
		})
	})
	routes.HandleFunc("GET /zones", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, []map[string]any{
			{"name": "testbed-a", "fault": nil}, {"name": "testbed-b", "fault": "down"}, {"name": "testbed-c", "fault": nil},
		})
	})
	routes.HandleFunc("GET /nodes", func(w http.ResponseWriter, _ *http.Request) {
		f.mutex.Lock()
		defer f.mutex.Unlock()
		answer(w, http.StatusOK, append([]nodemanager.Node{}, f.nodes...))
	})
	routes.HandleFunc("POST /nodes", f.launch)
	routes.HandleFunc("GET /nodes/{name}", func(w http.ResponseWriter, r *http.Request) {
		f.mutex.Lock()
		defer f.mutex.Unlock()
		if index := f.index(r.PathValue("name")); index >= 0 {
			answer(w, http.StatusOK, f.nodes[index])
			return
		}
		answer(w, http.StatusNotFound, map[string]string{"message": "no such node"})
	})
	routes.HandleFunc("DELETE /nodes/{name}", func(w http.ResponseWriter, r *http.Request) {
		f.mutex.Lock()
		defer f.mutex.Unlock()
		index := f.index(r.PathValue("name"))
		if index < 0 {
			answer(w, http.StatusNotFound, map[string]string{"message": "no such node"})
			return
		}
		f.nodes = slices.Delete(f.nodes, index, index+1)
		w.WriteHeader(http.StatusOK)
	})
	return routes
}

func (f *fakeNodeManager) launch(w http.ResponseWriter, r *http.Request) {
	var request nodemanager.Request
	if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
		answer(w, http.StatusBadRequest, map[string]string{"message": err.Error()})
		return
	}
	f.mutex.Lock()
	defer f.mutex.Unlock()
	f.requests = append(f.requests, request)
	switch {
	case f.refusals[request.Zone] != 0:
		answer(w, f.refusals[request.Zone], map[string]string{"message": "no node in " + request.Zone})
	case f.index(request.Name) >= 0:
		answer(w, http.StatusConflict, map[string]string{"message": "the name exists"})
	default:
		node := nodemanager.Node{
			Name: request.Name, Zone: request.Zone, Type: request.Type, Labels: request.Labels,
			ProviderID: "testbed://" + request.Zone + "/" + request.Name, State: "starting", Created: time.Now(),
		}
		f.nodes = append(f.nodes, node)
		answer(w, http.StatusCreated, node)
	}
}

func (f *fakeNodeManager) index(name string) int {
	return slices.IndexFunc(f.nodes, func(node nodemanager.Node) bool { return node.Name == name })
}

// zones returns the zones of the launches that were asked for.
func (f *fakeNodeManager) zones() []string {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	var zones []string
	for _, request := range f.requests {
		zones = append(zones, request.Zone)
	}
	return zones
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}
