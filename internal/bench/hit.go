package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// benchHit compares a cached tile with the least that net/http can do, and with nginx.
func benchHit(ctx context.Context, l *lab) error {
	s3, err := l.startSelf(ctx, loadCore, "serve-s3", strconv.Itoa(tileSize))
	if err != nil {
		return err
	}
	defer s3.stop()
	tilegate, err := l.startTilegate(ctx, s3.url, 256)
	if err != nil {
		return err
	}
	defer tilegate.stop()
	const path = "/tiles/basemap/7/66/44.png"
	answer, err := l.fetch(ctx, http.DefaultClient, tilegate.url+path)
	for range 2 { // the second is a hit, whose headers are what counts
		if err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, answer.Body); err != nil {
			return err
		}
		_ = answer.Body.Close() // it has been read
		answer, err = l.fetch(ctx, http.DefaultClient, tilegate.url+path)
	}
	if err != nil {
		return err
	}
	_ = answer.Body.Close() // only its headers matter
	var same, five []string
	for name, value := range answer.Header {
		if name == "Date" {
			continue
		}
		same = append(same, name+"="+value[0])
		if slices.Contains([]string{"Content-Type", "Content-Length", "Etag", "Cache-Control", "Last-Modified"}, name) {
			five = append(five, name+"="+value[0])
		}
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
	type target struct {
		name   string
		server *server
		token  string
	}
	targets := []target{
		{"tilegate", tilegate, l.token},
		{"bare handler, the same headers", bare, l.token},
		{"bare handler, five headers", bareFive, l.token},
	}
	origin, err := l.startSelf(ctx, loadCore, append([]string{"serve-bare"}, five...)...)
	if err != nil {
		return err
	}
	defer origin.stop()
	nginx, err := l.startNginx(ctx, origin.url, false)
	if err != nil {
		return err
	}
	if nginx != nil {
		defer nginx.stop()
		targets = append(targets, target{"nginx proxy_cache, HS256 checked in njs", nginx, l.hmacToken})
	} else {
		l.note("  of nginx proxy_cache, HS256 checked in njs", "not installed")
	}
	rates := map[string][]float64{}
	for range l.rounds {
		for _, t := range targets {
			rate, _, err := l.wrk(ctx, t.server, path, t.token, 64, "")
			if err != nil {
				return err
			}
			rates[t.name] = append(rates[t.name], rate)
		}
	}
	ours := median(rates["tilegate"])
	l.note("a cached tile of 20 KB, RS256 token, 64 connections, one core", fmt.Sprintf("%.0f in a second of its core", ours))
	for i, goal := range []float64{0.95, 0.90, 1.00} {
		if i+1 >= len(targets) {
			break
		}
		name := targets[i+1].name
		ratio := ours / median(rates[name])
		l.record("  of "+name, fmt.Sprintf("%.2f (%.0f)", ratio, median(rates[name])), fmt.Sprintf("≥ %.2f", goal), ratio >= goal)
	}
	return nil
}

// benchMiss compares misses with GetObject alone.
func benchMiss(ctx context.Context, l *lab) error {
	s3, err := l.startSelf(ctx, loadCore, "serve-s3", strconv.Itoa(tileSize))
	if err != nil {
		return err
	}
	defer s3.stop()
	tilegate, err := l.startTilegate(ctx, s3.url, 256)
	if err != nil {
		return err
	}
	defer tilegate.stop()
	var ours, loops []float64
	for round := range l.rounds {
		rate, _, err := l.wrk(ctx, tilegate, "", l.token, 32, walk(16, round*10_000_000))
		if err != nil {
			return err
		}
		ours = append(ours, rate)
		out, err := exec.CommandContext(ctx, "taskset", "-c", serverCore, l.self, "loop", s3.url, "32", l.length.String()).Output() //nolint:gosec // our own arguments
		if err != nil {
			return fmt.Errorf("loop: %w", err)
		}
		rate, err = strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
		if err != nil {
			return err
		}
		loops = append(loops, rate)
	}
	ratio := median(ours) / median(loops)
	l.record("misses, 32 at once, of a bare GetObject loop", fmt.Sprintf("%.2f (%.0f of %.0f in a second of a core)", ratio, median(ours), median(loops)), "≥ 0.80", ratio >= 0.80)
	return nil
}

// walk is a load that asks for every tile once, beginning at the nth.
func walk(zoom, from int) string {
	return fmt.Sprintf(`local n = %d
request = function()
  n = n + 1
  return wrk.format("GET", "/tiles/basemap/%d/" .. math.floor(n / 60000) .. "/" .. n %% 60000 .. ".png")
end
`, from, zoom)
}

// startNginx runs a caching nginx that checks a token on every request, in front of an origin. njs can
// check HS256 without waiting, so that is what it gets. nil where nginx or njs is not installed.
func (l *lab) startNginx(ctx context.Context, origin string, secure bool) (*server, error) {
	const module = "/usr/lib/nginx/modules/ngx_http_js_module.so" // Debian's libnginx-mod-http-js
	if _, err := exec.LookPath("nginx"); err != nil {
		return nil, nil //nolint:nilnil // there is none
	}
	if _, err := os.Stat(module); err != nil {
		return nil, nil //nolint:nilnil // there is none
	}
	address, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	certificate := ""
	if secure {
		certificate = " ssl http2;\n\t\tssl_certificate DIR/cert.pem;\n\t\tssl_certificate_key DIR/key.pem"
	}
	conf := strings.NewReplacer("MODULE", module, "DIR", l.dir, "ADDRESS", address, "ORIGIN", origin, "USER", userDirective()).Replace(strings.ReplaceAll(nginxTemplate, "CERTIFICATE", certificate))
	check := strings.ReplaceAll(njsCheck, "SECRET", hmacSecret)
	for name, text := range map[string]string{"nginx.conf": conf, "jwt.js": check} {
		if err := os.WriteFile(filepath.Join(l.dir, name), []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	s, err := l.start(ctx, serverCore, address, nil, "nginx", "-p", l.dir, "-e", filepath.Join(l.dir, "nginx.err"), "-c", filepath.Join(l.dir, "nginx.conf"))
	if err == nil && secure {
		s.url = "https://" + address
	}
	return s, err
}

// userDirective keeps nginx's workers able to read our directory when root starts them.
func userDirective() string {
	if os.Getuid() == 0 {
		return "user root;"
	}
	return ""
}

const nginxTemplate = `load_module MODULE;
USER
worker_processes 1;
daemon off;
pid DIR/nginx.pid;
events { worker_connections 1024; }
http {
	access_log /dev/null combined buffer=32k flush=1s;
	client_body_temp_path DIR/body; proxy_temp_path DIR/proxy; fastcgi_temp_path DIR/f; uwsgi_temp_path DIR/u; scgi_temp_path DIR/s;
	proxy_cache_path DIR/cache keys_zone=tiles:10m;
	js_path DIR;
	js_import jwt from jwt.js;
	keepalive_requests 10000000;
	server {
		listen ADDRESSCERTIFICATE;
		location = /jwt { internal; js_content jwt.check; }
		location / {
			auth_request /jwt;
			proxy_cache tiles;
			proxy_cache_key $uri;
			proxy_cache_valid 200 1h;
			proxy_ignore_headers Cache-Control;
			proxy_pass ORIGIN;
		}
	}
}
`

const njsCheck = `import crypto from 'crypto'

function check(r) {
	var part = (r.headersIn.Authorization || '').slice(7).split('.')
	var want = crypto.createHmac('sha256', 'SECRET').update(part[0] + '.' + part[1]).digest('base64url')
	if (part[2] !== want) {
		r.return(401)
		return
	}
	var claims = JSON.parse(Buffer.from(part[1], 'base64url').toString())
	r.return(claims.exp > Date.now() / 1000 && claims.aud === 'tiles' ? 204 : 401)
}
export default {check}
`
