package proxy

import (
	"context"
	"errors"
	"net/http"
)

// Reloaded is what a reload of the configuration did. Its names are keys of the file.
type Reloaded struct {
	Changed      []string `json:"changed"`       // sections that differ from those that were in force
	NeedsRestart []string `json:"needs_restart"` // keys that differ and keep their old value until the next start
}

// Reload reads the configuration again and puts it in force. Its error says all that is wrong with it; then nothing has changed.
type Reload func(ctx context.Context) (*Reloaded, error)

// ErrNoReload is the error of a Reload while the process begins or ends.
var ErrNoReload = errors.New("the process is starting or ending: nothing is reloaded")

func (p *Proxy) reload(w http.ResponseWriter, r *http.Request) error {
	if p.opt.Reload == nil {
		return refuse(http.StatusNotFound, "The configuration of this instance is not in a file.")
	}
	// It is not undone when its client leaves.
	done, err := p.opt.Reload(context.WithoutCancel(r.Context()))
	if errors.Is(err, ErrNoReload) {
		return refuse(http.StatusServiceUnavailable, "The instance is starting or ending, and reloads nothing.")
	}
	if err != nil {
		return refuse(http.StatusUnprocessableEntity, "The configuration is not reloaded, and the one before stays in force. "+err.Error())
	}
	if done.NeedsRestart == nil {
		done.NeedsRestart = []string{}
	}
	return adminJSON(w, done)
}
