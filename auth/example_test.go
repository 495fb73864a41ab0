package auth_test

import (
	"fmt"
	"net/http"
	"time"

	"tilegate/auth"
	"tilegate/internal/tile"
)

func Example() {
	a, err := auth.New(auth.Options{SigningKeys: [][]byte{[]byte("thirty-two random bytes, really!")}})
	if err != nil {
		panic(err)
	}
	token, _, err := a.NewAccessToken(auth.AccessRequest{
		Subject: "alice", TTL: time.Hour,
		Limits: auth.Limits{Tilesets: []string{"acme-*"}, Zoom: &tile.ZoomRange{Max: 10}},
	})
	if err != nil {
		panic(err)
	}
	r, err := http.NewRequest(http.MethodGet, "/tiles/acme-roads/7/66/44", nil)
	if err != nil {
		panic(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	grant, err := a.Authenticate(r, "")
	if err != nil {
		panic(err)
	}
	fmt.Println(grant.Subject, grant.Kind)
	fmt.Println(grant.Admits("acme-roads", 7, 66, 44), grant.Admits("acme-roads", 11, 0, 0), grant.Admits("basemap", 7, 66, 44))
	if err := a.Revoke(auth.Revocation{Subject: "alice"}); err != nil {
		panic(err)
	}
	_, err = a.Authenticate(r, "")
	fmt.Println(err)
	// Output:
	// alice access
	// true false false
	// invalid credential: the token has been revoked
}
