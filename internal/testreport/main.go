// Command testreport runs go test, shows how far it is, and lists at the end what was skipped and how to change that.
//
//	go run ./internal/testreport -race -timeout 25m ./...
//
// The arguments are those of go test; the last one names the packages. A package takes a line when it has ended. The output of
// tests that pass is left out. Exit status 1 means that a test failed or that a package could not be built.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
)

func main() {
	args := os.Args[1:]
	if len(args) == 0 {
		fmt.Fprintln(os.Stderr, "usage: testreport [flags of go test] packages")
		os.Exit(2)
	}
	total := 0
	if list, err := exec.Command("go", "list", args[len(args)-1]).Output(); err == nil { //nolint:gosec // the developer's own arguments
		total = bytes.Count(list, []byte("\n"))
	}
	cmd := exec.Command("go", append([]string{"test", "-json"}, args...)...) //nolint:gosec // likewise
	cmd.Stderr = os.Stderr
	events, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "testreport:", err)
		os.Exit(1)
	}
	failed := report(events, os.Stdout, total)
	if err := cmd.Wait(); err != nil || failed {
		if _, ended := errors.AsType[*exec.ExitError](err); err != nil && !ended {
			fmt.Fprintln(os.Stderr, "testreport:", err)
		}
		os.Exit(1)
	}
}

// event is a line of go test -json (go doc test2json).
type event struct {
	Action, Package, Test, Output, ImportPath string
	Elapsed                                   float64
}

// run is a test, or a package where test is "".
type run struct{ pkg, test string }

// report writes what happens to w, and returns whether anything failed. total is the number of packages, 0 where that is not
// known.
func report(events io.Reader, w io.Writer, total int) (failed bool) {
	output := map[run][]string{}
	skipped := map[string][]string{} // by the reason
	ended, skips := 0, 0
	lines := bufio.NewReader(events)
	for {
		line, err := lines.ReadBytes('\n')
		var e event
		if json.Unmarshal(line, &e) == nil {
			of := run{e.Package, e.Test}
			switch e.Action {
			case "output", "build-output":
				if e.Action == "build-output" {
					fmt.Fprint(w, e.Output)
				}
				output[of] = append(output[of], e.Output)
			case "build-fail":
				failed = true
			case "skip", "pass", "fail":
				if e.Test != "" {
					if e.Action == "skip" {
						reason := whySkipped(output[of])
						skipped[reason] = append(skipped[reason], e.Test)
						skips++
					}
					if e.Action == "fail" {
						failed = true
						fmt.Fprint(w, strings.Join(output[of], ""))
					}
					delete(output, of)
					break
				}
				ended++
				if e.Action == "fail" {
					failed = true
					fmt.Fprint(w, strings.Join(output[of], ""))
				}
				delete(output, of)
				fmt.Fprintf(w, "%-7s %-4s %s  %.1fs\n", progress(ended, total), map[string]string{"pass": "ok", "fail": "FAIL", "skip": "none"}[e.Action], e.Package, e.Elapsed)
			}
		} else if len(bytes.TrimSpace(line)) > 0 {
			_, _ = w.Write(line) // what is no event, such as a message of the go command
		}
		if err != nil {
			break
		}
	}
	if skips == 0 {
		return failed
	}
	fmt.Fprintf(w, "\n%d tests were skipped:\n", skips)
	reasons := make([]string, 0, len(skipped))
	for reason := range skipped {
		reasons = append(reasons, reason)
	}
	slices.SortFunc(reasons, func(a, b string) int {
		if d := len(skipped[b]) - len(skipped[a]); d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	for _, reason := range reasons {
		tests := skipped[reason]
		shown := tests[:min(len(tests), 3)]
		more := ""
		if len(tests) > len(shown) {
			more = ", …"
		}
		fmt.Fprintf(w, "%4d  %s (%s%s)\n", len(tests), reason, strings.Join(shown, ", "), more)
	}
	return failed
}

func progress(ended, total int) string {
	if total == 0 {
		return fmt.Sprint(ended)
	}
	return fmt.Sprintf("%d/%d", ended, total)
}

// whySkipped is what the test said when it was skipped: "    nginx_test.go:12: nginx is missing; install it: …".
func whySkipped(output []string) string {
	for _, line := range slices.Backward(output) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "---") || strings.HasPrefix(line, "===") {
			continue
		}
		if _, reason, ok := strings.Cut(line, ".go:"); ok {
			if _, reason, ok = strings.Cut(reason, ": "); ok {
				return reason
			}
		}
		return line
	}
	return "no reason given"
}
