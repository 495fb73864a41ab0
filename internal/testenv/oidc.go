package testenv

import (
	"net"
	"os/exec"
	"strings"
	"testing"
)

// What the provider of OIDCProvider knows: a user, and two clients that may use authorization codes and refresh tokens.
const (
	OIDCUser         = "test-user@localhost"
	OIDCPassword     = "verysecure"
	OIDCSubject      = "id1"
	OIDCClient       = "web"
	OIDCSecret       = "secret"
	OIDCPublicClient = "native" // has no secret, and needs PKCE
)

// OIDCProvider starts an OpenID provider, the example of zitadel/oidc, and returns its issuer. A browser signs in by a form. Its access
// tokens are opaque. With the scope custom_scope, its ID tokens have the client's id in custom_claim.client. After signing out, it sends
// browsers nowhere else.
func OIDCProvider(t testing.TB, redirectURIs ...string) (issuer string) {
	t.Helper()
	binary := find(t, "make tools", "oidc-provider")
	_, port, _ := net.SplitHostPort(run(t, "/.well-known/openid-configuration", func(address string) *exec.Cmd {
		_, port, _ := net.SplitHostPort(address)
		cmd := exec.Command(binary)
		cmd.Env = append(environment("USERS_FILE"), "PORT="+port, "REDIRECT_URI="+strings.Join(redirectURIs, ","))
		return cmd
	}))
	return "http://localhost:" + port + "/"
}
