package testenv

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"text/template"
)

// Nginx starts nginx with conf, the content of its http block, as a text/template that knows
// {{.Address}} to listen on and {{.Dir}} to keep files in, e.g. a proxy cache's. The njs module is
// loaded where it is installed; see NJS. It returns the URL.
func Nginx(t testing.TB, conf string) (url string) {
	t.Helper()
	binary := find(t, "apt-get install nginx libnginx-mod-http-js", "nginx", "/usr/sbin/nginx")
	tmpl, err := template.New("nginx.conf").Parse(`daemon off;
{{if .Root}}user root;{{end}}
{{if .NJS}}load_module {{.NJS}};{{end}}
worker_processes 1;
pid {{.Dir}}/nginx.pid;
error_log stderr warn;
events { worker_connections 8192; }
http {
	access_log off;
	client_body_temp_path {{.Dir}}/body;
	proxy_temp_path {{.Dir}}/proxy;
	fastcgi_temp_path {{.Dir}}/fastcgi;
	uwsgi_temp_path {{.Dir}}/uwsgi;
	scgi_temp_path {{.Dir}}/scgi;
` + conf + "\n}\n")
	if err != nil {
		t.Fatalf("nginx configuration: %v", err)
	}
	dir := t.TempDir()
	return "http://" + run(t, "/", func(address string) *exec.Cmd {
		var text strings.Builder
		data := struct {
			Address, Dir, NJS string
			Root              bool // a worker would not be root then, and could not read dir
		}{address, dir, njsModule(), os.Geteuid() == 0}
		if err := tmpl.Execute(&text, data); err != nil {
			t.Fatalf("nginx configuration: %v", err)
		}
		return exec.Command(binary, "-p", dir, "-c", write(t, dir, "nginx.conf", text.String()), "-e", "stderr")
	})
}

// NJS skips the test, or fails it with CI=true, where nginx has no njs module.
func NJS(t testing.TB) {
	t.Helper()
	if njsModule() != "" {
		return
	}
	find(t, "apt-get install libnginx-mod-http-js", "ngx_http_js_module.so")
}

// njsModule is where distributions put it, or "".
func njsModule() string {
	for _, dir := range []string{"/usr/lib/nginx/modules", "/usr/lib64/nginx/modules", "/usr/local/lib/nginx/modules"} {
		path := filepath.Join(dir, "ngx_http_js_module.so")
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	return ""
}

// Varnish starts varnishd with a complete VCL, and returns its URL.
func Varnish(t testing.TB, vcl string) (url string) {
	t.Helper()
	binary := find(t, "apt-get install varnish", "varnishd", "/usr/sbin/varnishd")
	dir := t.TempDir()
	file := write(t, dir, "test.vcl", vcl)
	return "http://" + run(t, "/", func(address string) *exec.Cmd {
		// -j none: it neither may nor needs to change users.
		return exec.Command(binary, "-F", "-j", "none", "-n", filepath.Join(dir, "work"), "-a", address, "-s", "malloc,64m", "-f", file)
	})
}

func write(t testing.TB, dir, name, content string) (path string) {
	t.Helper()
	path = filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Caddy starts Caddy with a Caddyfile as a text/template that knows {{.Address}} to listen on, and returns its URL.
func Caddy(t testing.TB, caddyfile string) (url string) {
	t.Helper()
	binary := find(t, "make tools", "caddy")
	tmpl, err := template.New("Caddyfile").Parse("{\n\tadmin off\n\tauto_https off\n\tpersist_config off\n}\n" + caddyfile)
	if err != nil {
		t.Fatalf("Caddyfile: %v", err)
	}
	dir := t.TempDir()
	return "http://" + run(t, "/", func(address string) *exec.Cmd {
		var text strings.Builder
		if err := tmpl.Execute(&text, struct{ Address string }{address}); err != nil {
			t.Fatalf("Caddyfile: %v", err)
		}
		cmd := exec.Command(binary, "run", "--adapter", "caddyfile", "--config", write(t, dir, "Caddyfile", text.String()))
		cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
		return cmd
	})
}

// PMTilesServer starts go-pmtiles as a tile server for the archives in a directory, and returns its URL.
func PMTilesServer(t testing.TB, dir string) (url string) {
	t.Helper()
	binary := PMTiles(t)
	return "http://" + run(t, "/", func(address string) *exec.Cmd {
		host, port, _ := strings.Cut(address, ":")
		return exec.Command(binary, "serve", dir, "--interface", host, "--port", port)
	})
}
