package proxy

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"

	"tilegate/auth"
)

// maxBody bounds a JSON request, in bytes.
const maxBody = 64 << 10

// readJSON reads one JSON object into a struct. encoding/json alone takes the last of two equal members,
// names in any case, and null for absent: a restriction could get lost. A refusal names the member that is at fault.
func readJSON(w http.ResponseWriter, r *http.Request, v any) error {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return refuse(http.StatusRequestEntityTooLarge, "The body is larger than 64 KiB.")
	}
	if err != nil {
		return refuse(http.StatusBadRequest, "The body did not arrive as a whole.")
	}
	// The body has come. Its deadline must not end what is done with it.
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	return parseJSON(body, v)
}

// readOptionalJSON is readJSON for a route that can do without a body: then v stays as it is.
func readOptionalJSON(w http.ResponseWriter, r *http.Request, v any) (given bool, err error) {
	if r.Body == nil || r.Body == http.NoBody {
		return false, nil
	}
	body := bufio.NewReaderSize(r.Body, 16)
	if _, err := body.Peek(1); errors.Is(err, io.EOF) {
		return false, nil
	}
	r.Body = struct {
		io.Reader
		io.Closer
	}{body, r.Body}
	return true, readJSON(w, r, v)
}

// parseJSON accepts one strict JSON object, without null, whose members all are fields of v by their exact names.
func parseJSON(body []byte, v any) error {
	object, err := auth.ParseObject(body)
	var members map[string]json.RawMessage
	if err != nil || json.Unmarshal(body, &members) != nil {
		return refuse(http.StatusBadRequest, "The body is not one JSON object whose members each are there once.")
	}
	target := reflect.ValueOf(v).Elem()
	var takes []string
	for _, field := range reflect.VisibleFields(target.Type()) {
		name := field.Tag.Get("json")
		takes = append(takes, name)
		value, given := object[name]
		if !given {
			continue
		}
		delete(object, name)
		switch {
		case holdsNull(value):
			return refuse(http.StatusBadRequest, fmt.Sprintf("%q holds null; leave out what should not be restricted.", name))
		case json.Unmarshal(members[name], target.FieldByIndex(field.Index).Addr().Interface()) != nil:
			return refuse(http.StatusBadRequest, fmt.Sprintf("%q is not of the type that it must have.", name))
		}
	}
	if len(object) > 0 {
		name := slices.Min(slices.Collect(maps.Keys(object)))
		if !plainMember(name) { // it could be anything, a credential in the wrong place too
			name = "…"
		}
		return refuse(http.StatusBadRequest, fmt.Sprintf("There is no member %q; this address takes %s.", name, strings.Join(takes, ", ")))
	}
	return nil
}

// plainMember reports whether a name looks like one of a member and like no credential.
func plainMember(name string) bool {
	return len(name) <= 20 && strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_") == ""
}

func holdsNull(value any) bool {
	switch v := value.(type) {
	case map[string]any:
		return slices.ContainsFunc(slices.Collect(maps.Values(v)), holdsNull)
	case []any:
		return slices.ContainsFunc(v, holdsNull)
	}
	return value == nil
}

func writeJSON(x *exchange, r *http.Request, status int, v any) error {
	var body bytes.Buffer
	e := json.NewEncoder(&body)
	e.SetEscapeHTML(false) // people copy URLs, with their &, out of curl's output; nosniff keeps it JSON
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	x.Set("Content-Type", []string{"application/json"})
	x.Set("Content-Length", []string{formatLength(int64(body.Len()))})
	x.WriteHeader(status)
	if r.Method == http.MethodHead {
		return nil
	}
	_, err := x.Write(body.Bytes())
	return err
}

// seconds cuts a time to whole seconds in UTC. An expiry that is told must never lie after the true one.
func seconds(t time.Time) time.Time { return t.UTC().Truncate(time.Second) }
