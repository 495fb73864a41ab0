package proxy

import (
	"net/http"
	"sync/atomic"
)

// Readiness is one thing that serving needs.
type Readiness struct {
	Name string // origin, keys, configuration or shared
	// Missing lists what has never been there, in lines that the public may read. Once it is empty it stays
	// so, since cached tiles are served through an outage.
	Missing func() []string
	// Degraded lists what does not work right now, likewise. It may be nil.
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
	x.probe = true
	return writeJSON(x, r, http.StatusOK, map[string]string{"status": "ok"})
}

// ready says whether requests should be sent here, and what is degraded while they are.
func (p *Proxy) ready(x *exchange, r *http.Request) error {
	x.probe = true
	answer := readinessAnswer{Status: "ready"}
	for _, part := range p.opt.Readiness {
		for _, what := range part.Missing() {
			answer.Missing = append(answer.Missing, part.Name+": "+what)
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
