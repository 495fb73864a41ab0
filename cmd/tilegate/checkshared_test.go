package main

import (
	"fmt"
	"testing"

	"tilegate/internal/fakeaws"
	"tilegate/internal/testenv"
)

// check --online asks Redis, too: an instance serves without it, and nobody would notice a wrong address or password.
func TestCheckOnlineTellsWhetherRedisAnswers(t *testing.T) {
	useTestCredentials(t)
	const password = "the-password-of-redis"
	redis := testenv.Redis(t, "--requirepass", password)
	bucket := privateBucket(t)
	bucket.Put("tiles", "basemap/0/0/0.png", fakeaws.Object{Body: []byte("\x89PNG\r\n\x1a\n")})
	key, _, _ := command(t, "keygen")
	keyFile := writeFile(t, "tilegate.key", key)
	for _, test := range []struct {
		name, address, password string
		status                  int
		want                    []string
	}{
		{"it answers", redis.Address, password, 0, []string{"SHARED", redis.Address + "  ok"}},
		{"no password", redis.Address, "", 1, []string{"FAILED", "look at shared.username and shared.password"}},
		{"another password", redis.Address, "another-one", 1, []string{"FAILED", "look at shared.username and shared.password"}},
		{"nobody listens", "127.0.0.1:1", password, 1, []string{"FAILED", "connection refused", "look at shared.url"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			secret := ""
			if test.password != "" {
				secret = fmt.Sprintf(", password: {file: %q}", writeFile(t, "password", test.password))
			}
			config := writeFile(t, "tilegate.yaml", fmt.Sprintf("aws: {endpoint: %q, sts_endpoint: %[1]q, path_style: true, role: {arn: %[2]q}}\nshared: {url: \"redis://%[3]s/0\"%[4]s}\nauth: {signing_keys: [{file: %[5]q}]}\ntilesets: {basemap: {source: \"s3://tiles/basemap/{z}/{x}/{y}.png\"}}\n",
				bucket.URL(), testRole, test.address, secret, keyFile))
			checkOnline(t, config, test.status, test.want, []string{password, "another-one"})
		})
	}
}
