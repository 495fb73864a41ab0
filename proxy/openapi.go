package proxy

import (
	_ "embed"
	"net/http"
)

// openAPIDocument describes all routes (OpenAPI 3.1). docs/api.md is written out of it, and its examples are tests.
//
//go:embed openapi.json
var openAPIDocument []byte

// openAPI answers with the description of the API, which is the same everywhere and holds nothing of the configuration.
func (p *Proxy) openAPI(x *exchange, r *http.Request) error {
	x.Set("Content-Type", []string{"application/json"})
	x.Set("Content-Length", []string{formatLength(int64(len(openAPIDocument)))})
	x.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead {
		return nil
	}
	_, err := x.Write(openAPIDocument)
	return err
}
