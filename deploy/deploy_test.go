// Package deploy_test holds the recipes to the program: what they configure is valid, what they watch is measured.
package deploy_test

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"tilegate/configs"
	"tilegate/internal/testenv"
)

func TestRecipesConfigureTilegate(t *testing.T) {
	recipes := map[string]string{
		"cloudfront.md":   regexp.MustCompile("(?s)```yaml\n(.*?)```").FindStringSubmatch(read(t, "cloudfront.md"))[1],
		"kubernetes.yaml": manifests(t, read(t, "kubernetes.yaml"))["ConfigMap"].Data["tilegate.yaml"],
	}
	setting := regexp.MustCompile(`(?m)^(?:#|//) +((?:server|auth|cdn): +\{.*\})$`)
	for _, name := range []string{"nginx.conf", "nginx-tileserver.conf", "Caddyfile", "varnish.vcl", "fastly.vcl", "cloudflare.js", "tilegate.service"} {
		for _, line := range setting.FindAllStringSubmatch(read(t, name), -1) {
			recipes[name] += line[1] + "\n"
		}
	}
	// Each first block of a proxy on the page is tilegate's.
	for i, block := range regexp.MustCompile("(?s)```yaml\n# tilegate\n(.*?)```").FindAllStringSubmatch(read(t, "decisions.md"), -1) {
		recipes["decisions.md "+strconv.Itoa(i)] = block[1]
	}
	if recipes["decisions.md 2"] == "" {
		t.Error("decisions.md: want tilegate's settings for three proxies")
	}
	signer := rsaKey(t)
	for name, recipe := range recipes {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, filepath.Join(dir, "tilegate.key"), bytes.Repeat([]byte{0xff}, 32))
			write(t, filepath.Join(dir, "cloudfront.pem"), signer)
			document := complete(t, strings.ReplaceAll(recipe, "/run/secrets/tilegate/", dir+"/"))
			_, err := configs.Parse(filepath.Join(dir, name), document, func(variable string) (string, bool) {
				if variable == "CREDENTIALS_DIRECTORY" {
					return dir, true
				}
				return strings.Repeat("s", 32), true
			})
			if recipe == "" || err != nil {
				t.Errorf("%v, in\n%s", err, document)
			}
		})
	}
}

// TestContainerHasWhatTheREADMEConfigures: each file that the README's configuration names is mounted beside it.
func TestContainerHasWhatTheREADMEConfigures(t *testing.T) {
	readme := read(t, "../README.md")
	config := regexp.MustCompile("(?s)```yaml\n *# tilegate.yaml\n(.*?)```").FindStringSubmatch(readme)
	run := regexp.MustCompile(`(?m)^# (docker run .*)$`).FindStringSubmatch(read(t, "../Dockerfile"))
	if config == nil || run == nil {
		t.Fatal("no configuration in the README, or no docker run in the Dockerfile")
	}
	files := []string{"tilegate.yaml"}
	for _, named := range regexp.MustCompile(`file: ([\w.-]+)`).FindAllStringSubmatch(config[1], -1) {
		files = append(files, named[1])
	}
	if len(files) < 2 {
		t.Error("the README's configuration names no key")
	}
	for _, file := range files {
		if mount := `-v "$PWD/` + file + `:/etc/tilegate/` + file + `:ro"`; !strings.Contains(run[1], mount) {
			t.Errorf("%s\nlacks %s", run[1], mount)
		}
	}
}

// A tile that the Worker has cached must not lie under an address that anybody can ask for without it.
func TestCloudflareCacheIsNotReachedPastTheWorker(t *testing.T) {
	testenv.NodeTest(t, "testdata/cloudflare.test.mjs")
}

// TestMetricsExist looks for each metric's name among the program's string literals.
func TestMetricsExist(t *testing.T) {
	var source strings.Builder
	for _, dir := range []string{"../cmd", "../proxy"} {
		err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			if strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") {
				source.WriteString(read(t, path))
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	metric := regexp.MustCompile(`\btilegate_[a-z_]+`)
	for _, file := range []string{"alerts.yml", "alerts_test.yml", "dashboard.json"} {
		names := metric.FindAllString(read(t, file), -1)
		if len(names) == 0 {
			t.Errorf("%s: names no metric", file)
		}
		for _, name := range names {
			if !strings.Contains(source.String(), `"`+strings.TrimSuffix(name, "_bucket")+`"`) {
				t.Errorf("%s: tilegate has no metric %q", file, name)
			}
		}
	}
}

// manifest is what the tests look at of a Kubernetes object.
type manifest struct {
	Kind     string
	Metadata struct{ Name string }
	Data     map[string]string
	Spec     struct {
		Replicas int
		Template struct {
			Spec struct {
				SecurityContext any `yaml:"securityContext"`
				Containers      []struct {
					Args            []string
					Env             []struct{ Name string }
					SecurityContext any `yaml:"securityContext"`
					LivenessProbe   any `yaml:"livenessProbe"`
					ReadinessProbe  any `yaml:"readinessProbe"`
					VolumeMounts    any `yaml:"volumeMounts"`
				}
			}
		}
	}
}

// manifests are the objects of a file, by their kinds.
func manifests(t *testing.T, text string) map[string]manifest {
	t.Helper()
	all := map[string]manifest{}
	for documents := yaml.NewDecoder(strings.NewReader(text)); ; {
		var m manifest
		if err := documents.Decode(&m); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all[m.Kind] = m
	}
}

// complete adds what a configuration needs and a recipe leaves out: a way to authenticate, and a tileset.
func complete(t *testing.T, recipe string) []byte {
	t.Helper()
	var config map[string]map[string]any
	if err := yaml.Unmarshal([]byte(recipe), &config); err != nil {
		t.Fatal(err)
	}
	add := func(section, key string, value any) {
		if config[section] == nil {
			config[section] = map[string]any{}
		}
		if config[section][key] == nil {
			config[section][key] = value
		}
	}
	add("auth", "signing_keys", []map[string]string{{"file": "tilegate.key"}})
	add("tilesets", "basemap", map[string]string{"source": "s3://acme-private-tiles/basemap/{z}/{x}/{y}.png"})
	document, err := yaml.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	return document
}

func rsaKey(t *testing.T) []byte {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}
