package deploy_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"tilegate/configs"
	"tilegate/internal/testenv"
)

// TestComposeFits: what compose.yaml mounts is there, what it configures is valid, and addresses and secrets are the same on both sides.
func TestComposeFits(t *testing.T) {
	var compose struct {
		Services map[string]struct {
			Image    string
			Volumes  []string
			Secrets  []string
			Networks any
		}
		Secrets map[string]struct{ File string }
	}
	if err := yaml.Unmarshal([]byte(read(t, "compose/compose.yaml")), &compose); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name := range compose.Secrets {
		write(t, filepath.Join(dir, name), bytes.Repeat([]byte("5a"), 32))
	}
	for name, service := range compose.Services {
		_, tag, _ := strings.Cut(filepath.Base(service.Image), ":")
		if ours := strings.HasPrefix(name, "tilegate-"); !ours && (tag == "" || tag == "latest") {
			t.Errorf("%s: the image %q has no version", name, service.Image)
		}
		for _, volume := range service.Volumes {
			from, _, _ := strings.Cut(volume, ":")
			if _, err := os.Stat(filepath.Join("compose", from)); strings.HasPrefix(from, ".") && err != nil {
				t.Errorf("%s mounts %s: %v", name, from, err)
			}
		}
		for _, secret := range service.Secrets {
			if compose.Secrets[secret].File == "" {
				t.Errorf("%s: there is no secret %q", name, secret)
			}
		}
	}
	for _, file := range regexp.MustCompile(`/run/secrets/([\w.]+)`).FindAllStringSubmatch(read(t, "compose/tilegate.yaml"), -1) {
		for _, name := range []string{"tilegate-1", "tilegate-2"} {
			if !strings.Contains(strings.Join(compose.Services[name].Secrets, " "), file[1]) {
				t.Errorf("%s has no secret %s", name, file[1])
			}
		}
	}
	address := func(service string) string {
		networks, _ := compose.Services[service].Networks.(map[string]any)
		tiles, _ := networks["tiles"].(map[string]any)
		at, _ := tiles["ipv4_address"].(string)
		return at
	}
	if at := address("nginx"); at == "" || !strings.Contains(read(t, "compose/tilegate.yaml"), at+"/32") {
		t.Errorf("tilegate.yaml does not trust nginx at %q", at)
	}
	for _, name := range []string{"tilegate-1", "tilegate-2"} {
		if at := address(name); at == "" || !strings.Contains(read(t, "compose/nginx.conf"), "server "+at+":8080 ") {
			t.Errorf("nginx.conf does not name %s at %q", name, at)
		}
	}
	document := strings.NewReplacer("/run/secrets/", dir+"/", "/etc/tilegate/access_key_id", "compose/access_key_id").Replace(read(t, "compose/tilegate.yaml"))
	working, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := configs.Parse(filepath.Join(working, "tilegate.yaml"), []byte(document), func(string) (string, bool) { return "", false }); err != nil {
		t.Error(err)
	}
}

// TestHelmChart: what the chart makes by default is what kubernetes.yaml has, with a configuration that is valid.
func TestHelmChart(t *testing.T) {
	helm := testenv.Helm(t)
	render := func(settings ...string) map[string]manifest {
		t.Helper()
		out, err := exec.Command(helm, append([]string{"template", "tilegate", "helm/tilegate"}, settings...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return manifests(t, string(out))
	}
	got, want := render(), manifests(t, read(t, "kubernetes.yaml"))
	for kind := range want {
		if got[kind].Metadata.Name != "tilegate" {
			t.Errorf("the chart has no %s", kind)
		}
	}
	ours, theirs := got["Deployment"].Spec.Template.Spec, want["Deployment"].Spec.Template.Spec
	if len(ours.Containers) != 1 || !reflect.DeepEqual(ours.SecurityContext, theirs.SecurityContext) {
		t.Fatalf("got %+v, want %+v", ours, theirs)
	}
	ours.Containers[0].Env, theirs.Containers[0].Env = nil, nil
	if !reflect.DeepEqual(ours.Containers, theirs.Containers) {
		t.Errorf("got %+v, want %+v", ours.Containers, theirs.Containers)
	}
	dir := t.TempDir()
	write(t, filepath.Join(dir, "tilegate.key"), bytes.Repeat([]byte{0xff}, 32))
	document := strings.ReplaceAll(got["ConfigMap"].Data["tilegate.yaml"], "/run/secrets/tilegate/", dir+"/")
	given := map[string]bool{}
	for _, variable := range render()["Deployment"].Spec.Template.Spec.Containers[0].Env {
		given[variable.Name] = true
	}
	if _, err := configs.Parse(filepath.Join(dir, "tilegate.yaml"), []byte(document), func(variable string) (string, bool) {
		return strings.Repeat("s", 32), given[variable] // from the secret
	}); err != nil {
		t.Errorf("%v, in\n%s", err, document)
	}
	if more := render("--set", "ingress.enabled=true", "--set", "replicas=1"); more["Ingress"].Metadata.Name == "" || more["PodDisruptionBudget"].Metadata.Name != "" {
		t.Errorf("got %v", more)
	}
	for _, wrong := range []string{"replicas=0", "replica=3", "env={lower}", "image.tags=1"} {
		if out, err := exec.Command(helm, "template", "tilegate", "helm/tilegate", "--set", wrong).CombinedOutput(); err == nil {
			t.Errorf("%s is accepted:\n%s", wrong, out)
		}
	}
}
