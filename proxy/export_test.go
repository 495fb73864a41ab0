package proxy

import (
	"iter"
	"maps"
)

// Routes are the methods and paths of the routes with a fixed path.
func (p *Proxy) Routes() iter.Seq[string] {
	all := map[string]bool{}
	for path, methods := range p.routes {
		for method := range methods {
			all[method+" "+path] = true
		}
	}
	return maps.Keys(all)
}
