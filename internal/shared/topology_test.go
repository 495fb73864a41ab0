//go:build unix

package shared_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"tilegate/internal/shared"
	"tilegate/internal/testenv"
)

func TestCluster(t *testing.T) {
	nodes := testenv.RedisCluster(t)
	cluster := func(o *shared.Options) {
		o.Addresses, o.Cluster = nil, true
		for _, node := range nodes {
			o.Addresses = append(o.Addresses, node.Address)
		}
		o.Username, o.Password = "tiles", "secret-of-tiles"
	}
	for _, node := range nodes { // the least that docs/operations.md asks for
		if got := node.Do(t, "ACL", "SETUSER", "tiles", "on", ">secret-of-tiles", "~tilegate:*",
			"+xadd", "+xrange", "+xdel", "+xinfo|stream", "+set", "+getrange", "+del", "+pfadd", "+pfcount", "+incrby", "+expireat", "+cluster|slots", "+command"); got != "+OK" {
			t.Fatal(got)
		}
	}
	a := begin(t, "", cluster)
	a.learn("one")
	b := begin(t, "", cluster)
	b.waitFor(t, "one")
	b.learn("two")
	a.waitFor(t, "two")
	sharesTiles(t, "", cluster)
	countsTogether(t, "", cluster)
}

// After a failover to a replica, which may lack the latest records, everything goes on by itself.
func TestSentinelFailsOver(t *testing.T) {
	server := testenv.Redis(t)
	host, port, _ := net.SplitHostPort(server.Address)
	replica := testenv.Redis(t, "--replicaof", host+" "+port)
	until(t, "the replica follows", func() bool {
		return server.Do(t, "WAIT", "1", "100") == ":1"
	})
	sentinel := testenv.RedisSentinel(t, server)
	with := func(o *shared.Options) { o.Master = "tiles" }
	a := begin(t, sentinel.Address, with)
	a.learn("before")
	b := begin(t, sentinel.Address, with)
	b.waitFor(t, "before")
	// A sentinel learns of replicas from the server, once in ten seconds.
	until(t, "the sentinel knows the replica", func() bool { return sentinel.Do(t, "SENTINEL", "REPLICAS", "tiles") == "*1" })
	server.Kill(t)
	a.learn("meanwhile")
	until(t, "the replica has taken over", func() bool {
		answer, err := replica.Try(t, "SET", "x", "1")
		return err == nil && answer == "+OK"
	})
	b.waitFor(t, "meanwhile")
	until(t, "both are up", func() bool { return a.Up() && b.Up() })
}

func TestTLSWithACAFile(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	ca := certificate(t, certFile, keyFile)
	redis := testenv.RedisTLS(t, certFile, keyFile)
	a := begin(t, redis.Address, func(o *shared.Options) { o.TLS, o.CAPEM = true, ca })
	a.learn("one")
	b := begin(t, redis.Address, func(o *shared.Options) { o.TLS, o.CAPEM = true, ca })
	b.waitFor(t, "one")
	stranger := begin(t, redis.Address, func(o *shared.Options) { o.TLS = true }) // trusts the system's authorities alone
	plain := begin(t, redis.Address, nil)
	until(t, "both have tried", func() bool { return stranger.ready() && plain.ready() })
	if stranger.Up() || plain.Up() {
		t.Error("a server with a certificate that nobody trusts, or asked without TLS, counts as up")
	}
}

// certificate writes a certificate of 127.0.0.1 and its key, and returns the certificate as its own authority.
func certificate(t *testing.T, certFile, keyFile string) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	for file, data := range map[string][]byte{
		certFile: cert, keyFile: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
	} {
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert
}
