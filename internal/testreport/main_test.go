package main

import (
	"encoding/json"
	"strings"
	"testing"
)

func events(t *testing.T, all ...event) string {
	t.Helper()
	var b strings.Builder
	for _, e := range all {
		if err := json.NewEncoder(&b).Encode(e); err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

func TestReportListsWhatWasSkipped(t *testing.T) {
	skip := func(test, line string) []event {
		return []event{
			{Action: "run", Package: "a", Test: test},
			{Action: "output", Package: "a", Test: test, Output: "=== RUN   " + test + "\n"},
			{Action: "output", Package: "a", Test: test, Output: line},
			{Action: "output", Package: "a", Test: test, Output: "--- SKIP: " + test + " (0.00s)\n"},
			{Action: "skip", Package: "a", Test: test},
		}
	}
	var all []event
	for _, test := range []string{"TestA", "TestB", "TestC", "TestD"} {
		all = append(all, skip(test, "    x_test.go:12: nginx is missing; install it: apt-get install nginx\n")...)
	}
	all = append(all, skip("TestE", "    x_test.go:40: minio is missing; install it: make tools\n")...)
	all = append(
		all, event{Action: "output", Package: "a", Test: "TestF", Output: "noise\n"}, event{Action: "pass", Package: "a", Test: "TestF"},
		event{Action: "output", Package: "a", Output: "ok  \ta\n"}, event{Action: "pass", Package: "a", Elapsed: 1.26}, event{Action: "skip", Package: "b"},
	)
	var out strings.Builder
	failed := report(strings.NewReader(events(t, all...)), &out, 2)
	const want = `1/2     ok   a  1.3s
2/2     none b  0.0s

5 tests were skipped:
   4  nginx is missing; install it: apt-get install nginx (TestA, TestB, TestC, …)
   1  minio is missing; install it: make tools (TestE)
`
	if failed || out.String() != want {
		t.Errorf("failed: %v; got:\n%s\nwant:\n%s", failed, out.String(), want)
	}
}

func TestReportShowsWhatFailed(t *testing.T) {
	for name, test := range map[string]struct {
		events []event
		want   string
	}{
		"a test": {[]event{
			{Action: "output", Package: "a", Test: "TestA", Output: "    a_test.go:3: got 1\n"},
			{Action: "fail", Package: "a", Test: "TestA"},
			{Action: "output", Package: "a", Output: "FAIL\n"},
			{Action: "fail", Package: "a", Elapsed: 2},
		}, "    a_test.go:3: got 1\nFAIL\n1       FAIL a  2.0s\n"},
		"a panic outside of tests": {[]event{{Action: "output", Package: "a", Output: "panic: x\n"}, {Action: "fail", Package: "a"}}, "panic: x\n1       FAIL a  0.0s\n"},
		"a build":                  {[]event{{Action: "build-output", ImportPath: "a", Output: "a.go:1: x\n"}, {Action: "build-fail", ImportPath: "a"}}, "a.go:1: x\n"},
	} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			if failed := report(strings.NewReader(events(t, test.events...)), &out, 0); !failed || out.String() != test.want {
				t.Errorf("failed: %v; got:\n%s\nwant:\n%s", failed, out.String(), test.want)
			}
		})
	}
}
