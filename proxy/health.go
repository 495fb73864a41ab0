package proxy

import (
	"net/http"
	"strings"
	"sync/atomic"
)

// Readiness is one thing that serving needs.
type Readiness struct {
	Name string // "credentials", "keys"
	// Ready is nil once the thing has been there; from then on it stays so, since warm tiles are
	// served through an outage. The error has a line for each thing that is missing.
	Ready func() error
	// Degraded tells what of it does not work just now, for a person to read.
	Degraded func() []string
}

// drain is set when the server begins to shut down.
type drain struct{ begun atomic.Bool }

// Drain makes /ready answer 503, so that load balancers send no more requests. Requests are served as before.
func (p *Proxy) Drain() { p.drain.begun.Store(true) }

// readinessAnswer is the body of /ready.
type readinessAnswer struct {
	Status   string   `json:"status"`
	Missing  []string `json:"missing,omitempty"`
	Degraded []string `json:"degraded,omitempty"`
}

// health says that the process answers.
func (p *Proxy) health(x *exchange, r *http.Request) error {
	return writeJSON(x, r, http.StatusOK, map[string]string{"status": "ok"})
}

// ready says whether requests should be sent here, and what is degraded while they are.
func (p *Proxy) ready(x *exchange, r *http.Request) error {
	answer := readinessAnswer{Status: "ready"}
	for _, part := range p.opt.Readiness {
		if err := part.Ready(); err != nil {
			for what := range strings.SplitSeq(err.Error(), "\n") {
				answer.Missing = append(answer.Missing, part.Name+": "+what)
			}
		}
		if part.Degraded != nil {
			for _, what := range part.Degraded() {
				answer.Degraded = append(answer.Degraded, part.Name+": "+what)
			}
		}
	}
	status := http.StatusOK
	switch {
	case p.drain.begun.Load():
		answer.Status, status = "draining", http.StatusServiceUnavailable
	case answer.Missing != nil:
		answer.Status, status = "not ready", http.StatusServiceUnavailable
	case answer.Degraded != nil:
		answer.Status = "degraded"
	}
	return writeJSON(x, r, status, answer)
}
