package testenv

import "testing"

// Helm is the path of the program that renders the chart in deploy/helm.
func Helm(t testing.TB) string {
	t.Helper()
	return find(t, "make tools", "helm")
}
