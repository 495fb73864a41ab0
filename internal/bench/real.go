package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

const cachedTile = "/tiles/basemap/7/66/44.png"

// pageOrigin is the origin of the page that asks, which CORS lists.
const pageOrigin = "https://eu.maps.example.com"

// insecure talks to servers with the certificate of makeCertificate.
var insecure = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} //nolint:gosec // our own servers

// headers are those of a cached tile as a page gets them: all but Date, and the five that any server has.
func (l *lab) headers(ctx context.Context, s *server) (same, five []string, err error) {
	for range 2 { // the second is a hit
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+cachedTile, http.NoBody)
		if err != nil {
			return nil, nil, err
		}
		r.Header.Set("Authorization", "Bearer "+l.token)
		r.Header.Set("Origin", pageOrigin)
		answer, err := insecure.Do(r)
		if err != nil {
			return nil, nil, err
		}
		if _, err := io.Copy(io.Discard, answer.Body); err != nil {
			return nil, nil, err
		}
		_ = answer.Body.Close() // it has been read
		if answer.StatusCode != http.StatusOK {
			return nil, nil, fmt.Errorf("%s: %s", r.URL, answer.Status)
		}
		same, five = nil, nil
		for name, value := range answer.Header {
			if name == "Date" {
				continue
			}
			same = append(same, name+"="+value[0])
			if slices.Contains([]string{"Content-Type", "Content-Length", "Etag", "Cache-Control", "Last-Modified"}, name) {
				five = append(five, name+"="+value[0])
			}
		}
	}
	return same, five, nil
}

// contender is one of the servers that are compared.
type contender struct {
	name   string
	server *server
	token  string
	goal   float64 // of tilegate's rate by its; 0: stated, no goal
}

// compare loads the contenders in turn, the first of which is tilegate, and records the ratios of the
// throughput of a core, and of what a second of the server's own processor time answers.
func (l *lab) compare(what string, contenders []contender, load func(contender) (perSecond, perCPU float64, err error)) error {
	rates, spent := map[string][]float64{}, map[string][]float64{}
	for range l.rounds {
		for _, c := range contenders {
			perSecond, perCPU, err := load(c)
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			rates[c.name], spent[c.name] = append(rates[c.name], perSecond), append(spent[c.name], perCPU)
		}
	}
	ours := contenders[0].name
	l.note(what, fmt.Sprintf("%.0f a second, %.0f in a second of its core", median(rates[ours]), median(spent[ours])))
	for _, c := range contenders[1:] {
		ratio, byCPU := median(rates[ours])/median(rates[c.name]), median(spent[ours])/median(spent[c.name])
		measured := fmt.Sprintf("%.2f (%.0f); by processor time %.2f", ratio, median(rates[c.name]), byCPU)
		if c.goal == 0 {
			l.note("  of "+c.name, measured)
			continue
		}
		l.record("  of "+c.name, measured, fmt.Sprintf("≥ %.2f", c.goal), ratio >= c.goal)
	}
	return nil
}

// loadHTTP1 is wrk with 64 connections of a page.
func (l *lab) loadHTTP1(ctx context.Context, c contender) (perSecond, perCPU float64, err error) {
	begun := time.Now()
	perCPU, requests, err := l.wrk(ctx, c.server, cachedTile, c.token, 64, "wrk.headers[\"Origin\"] = \""+pageOrigin+"\"\n")
	return float64(requests) / time.Since(begun).Seconds(), perCPU, err
}

// benchReal is benchHit with the configuration that people run.
func benchReal(ctx context.Context, l *lab) error {
	s3, err := l.startSelf(ctx, loadCore, "serve-s3", strconv.Itoa(tileSize))
	if err != nil {
		return err
	}
	defer s3.stop()
	tilegate, err := l.startReal(ctx, s3.url, false)
	if err != nil {
		return err
	}
	defer tilegate.stop()
	same, five, err := l.headers(ctx, tilegate)
	if err != nil {
		return err
	}
	bare, err := l.startSelf(ctx, serverCore, append([]string{"serve-bare"}, same...)...)
	if err != nil {
		return err
	}
	defer bare.stop()
	bareFive, err := l.startSelf(ctx, serverCore, append([]string{"serve-bare"}, five...)...)
	if err != nil {
		return err
	}
	defer bareFive.stop()
	return l.compare("a cached tile of 20 KB with CORS, a key set, a role and the access log in a file, 64 connections", []contender{
		{"tilegate", tilegate, l.token, 0},
		{fmt.Sprintf("bare handler, the same %d headers", len(same)), bare, l.token, 0.98},
		{"bare handler, five headers", bareFive, l.token, 0.95},
	}, func(c contender) (float64, float64, error) { return l.loadHTTP1(ctx, c) })
}

// benchTLS is the same over TLS, by HTTP/1.1 and by HTTP/2.
func benchTLS(ctx context.Context, l *lab) error {
	s3, err := l.startSelf(ctx, loadCore, "serve-s3", strconv.Itoa(tileSize))
	if err != nil {
		return err
	}
	defer s3.stop()
	tilegate, err := l.startReal(ctx, s3.url, true)
	if err != nil {
		return err
	}
	defer tilegate.stop()
	same, five, err := l.headers(ctx, tilegate)
	if err != nil {
		return err
	}
	certificate := "tls:" + filepath.Join(l.dir, "cert.pem") + ":" + filepath.Join(l.dir, "key.pem")
	bare, err := l.startSelf(ctx, serverCore, append([]string{"serve-bare", certificate}, same...)...)
	if err != nil {
		return err
	}
	defer bare.stop()
	bare.url = strings.Replace(bare.url, "http:", "https:", 1)
	contenders := []contender{{"tilegate", tilegate, l.token, 0}, {"bare net/http over TLS, the same headers", bare, l.token, 0.95}}
	origin, err := l.startSelf(ctx, loadCore, append([]string{"serve-bare"}, five...)...)
	if err != nil {
		return err
	}
	defer origin.stop()
	nginx, err := l.startNginx(ctx, origin.url, true)
	if err != nil {
		return err
	}
	if nginx != nil {
		defer nginx.stop()
		contenders = append(contenders, contender{"nginx proxy_cache over TLS, HS256 checked in njs", nginx, l.hmacToken, 1})
	} else {
		l.note("  of nginx proxy_cache over TLS", "not installed")
	}
	err = l.compare("a cached tile over HTTPS/1.1, 64 connections", contenders, func(c contender) (float64, float64, error) { return l.loadHTTP1(ctx, c) })
	if err != nil {
		return err
	}
	if _, err := exec.LookPath("h2load"); err != nil {
		l.note("a cached tile over HTTP/2", "not measured: apt-get install nghttp2-client")
		return nil
	}
	if nginx != nil {
		contenders[2].goal = 0 // bare net/http does not reach it either
	}
	return l.compare("a cached tile over HTTP/2 and TLS, 8 connections of 8 streams", contenders, func(c contender) (float64, float64, error) { return l.h2load(ctx, c) })
}

var (
	h2loadRate  = regexp.MustCompile(`finished in .*?, ([0-9.]+) req/s`)
	h2loadCount = regexp.MustCompile(`(\d+) done, (\d+) succeeded`)
	h2loadCodes = regexp.MustCompile(`status codes: (\d+) 2xx`)
)

// h2load loads a server over HTTP/2.
func (l *lab) h2load(ctx context.Context, c contender) (perSecond, perCPU float64, err error) {
	before, err := c.server.processorTime()
	if err != nil {
		return 0, 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, 20*l.length)
	defer cancel()
	requests := int(l.length.Seconds() * 10_000)                                                                                 // by number: by duration, h2load can wait for nginx for ever
	out, err := exec.CommandContext(ctx, "taskset", "-c", loadCore, "h2load", "-t1", "-c8", "-m8", "-n", strconv.Itoa(requests), //nolint:gosec // our own arguments
		"-H", "Authorization: Bearer "+c.token, "-H", "Origin: "+pageOrigin, c.server.url+cachedTile).CombinedOutput()
	if err != nil {
		return 0, 0, fmt.Errorf("h2load: %w\n%s", err, out)
	}
	after, err := c.server.processorTime()
	if err != nil {
		return 0, 0, err
	}
	rate, count, codes := h2loadRate.FindSubmatch(out), h2loadCount.FindSubmatch(out), h2loadCodes.FindSubmatch(out)
	if rate == nil || count == nil || codes == nil || string(count[1]) != string(count[2]) {
		return 0, 0, fmt.Errorf("h2load: not every request succeeded\n%s", out)
	}
	done, _ := strconv.ParseFloat(string(codes[1]), 64)
	perSecond, err = strconv.ParseFloat(string(rate[1]), 64)
	return perSecond, done / (after - before).Seconds(), err
}

// makeCertificate makes a certificate for 127.0.0.1.
func (l *lab) makeCertificate() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	for name, block := range map[string]*pem.Block{"cert.pem": {Type: "CERTIFICATE", Bytes: der}, "key.pem": {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(filepath.Join(l.dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			return err
		}
	}
	return nil
}
