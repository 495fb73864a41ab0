package origin

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// NotReady lists what serving still waits for: credentials that have never been there, and sources for which
// S3 has never answered. Once it is empty it stays so, since cached tiles are served through an outage. The
// lines name no bucket and no account, so that /ready may show them.
func (a *AWS) NotReady() []string {
	var lines []string
	for _, c := range a.caches {
		if s := c.status(); !s.held {
			lines = append(lines, fmt.Sprintf("no credentials from the %s yet%s", s.Name, publicReason(": ", s.Err)))
		}
	}
	var silent []string
	for id, s := range a.sources {
		if !s.health.answered.Load() {
			silent = append(silent, id)
		}
	}
	if len(silent) > 0 {
		slices.Sort(silent)
		lines = append(lines, "S3 has not answered yet for "+nameSome(silent))
	}
	return lines
}

// Degraded lists what does not work right now, although NotReady may be empty. /ready may show the lines.
func (a *AWS) Degraded() []string {
	var lines []string
	for _, c := range a.caches {
		s := c.status()
		switch {
		case s.Err == nil:
		case !s.Valid:
			lines = append(lines, fmt.Sprintf("credentials from the %s: none valid%s; retrying since %s", s.Name, publicReason(", ", s.Err), clockTime(s.Since)))
		case s.Expires.IsZero():
			lines = append(lines, fmt.Sprintf("credentials from the %s: refresh failing%s; retrying since %s", s.Name, publicReason(", ", s.Err), clockTime(s.Since)))
		default:
			lines = append(lines, fmt.Sprintf("credentials from the %s: refresh failing%s; retrying since %s, valid until %s", s.Name, publicReason(", ", s.Err), clockTime(s.Since), clockTime(s.Expires)))
		}
	}
	failing := map[string][]string{} // IDs by class
	for id, s := range a.sources {
		for _, f := range []*failure{s.health.failing.Load(), s.health.rejected.Load()} {
			if f != nil && time.Since(f.last) < failureShown {
				failing[f.class.Error()] = append(failing[f.class.Error()], id)
			}
		}
	}
	for class, ids := range failing {
		slices.Sort(ids)
		lines = append(lines, class+": "+nameSome(ids)+" (the log tells more)")
	}
	slices.Sort(lines)
	return lines
}

// Credentials returns the state of each set of credentials.
func (a *AWS) Credentials() []CredentialsStatus {
	statuses := make([]CredentialsStatus, 0, len(a.caches))
	for _, c := range a.caches {
		statuses = append(statuses, c.status())
	}
	return statuses
}

// CredentialsStatus is the state of one set of credentials.
type CredentialsStatus struct {
	Name    string    // the role's name, or "default credential chain"; fit for a metric's label
	Source  string    // where they came from, in the SDK's words; empty before the first
	Valid   bool      // held, and not expired
	Expires time.Time // zero: never, or none are held
	Err     error     // of the latest refresh, nil where it succeeded; for the log
	Since   time.Time // of the first failure in a row, where Err is set
	held    bool      // there have been some, expired or not
}

// publicReason is the part of an error that may be shown in public: AWS's error code, or the class.
func publicReason(before string, err error) string {
	var f *fault
	switch {
	case err == nil:
		return ""
	case errors.As(err, &f) && f.code != "":
		return before + f.code
	case errors.As(err, &f):
		return before + f.class.Error()
	}
	return before + "the log tells why"
}

// nameSome lists the first of many names, and counts the others.
func nameSome(names []string) string {
	const most = 5
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

func clockTime(t time.Time) string { return t.UTC().Format("15:04:05Z") }
