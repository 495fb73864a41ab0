package proxy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"time"

	"tilegate/auth"
)

// maxBody bounds a JSON request, in bytes.
const maxBody = 64 << 10

// readJSON reads one JSON object into a struct. encoding/json alone takes the last of two equal members,
// names in any case, and null for absent: a restriction could get lost.
func readJSON(w http.ResponseWriter, r *http.Request, v any) error {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return refuse(http.StatusRequestEntityTooLarge, "The body is larger than 64 KiB.")
	}
	if err == nil && exact(body, v) && json.Unmarshal(body, v) == nil {
		// The body has come. Its deadline must not end what is done with it.
		_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
		return nil
	}
	return refuse(http.StatusBadRequest, "The body is not the JSON object that this address takes.")
}

// exact reports whether a body is one strict JSON object, without null, whose members all are fields of v
// by their exact names.
func exact(body []byte, v any) bool {
	object, err := auth.ParseObject(body)
	if err != nil || holdsNull(object) {
		return false
	}
	for _, field := range reflect.VisibleFields(reflect.TypeOf(v).Elem()) {
		delete(object, field.Tag.Get("json"))
	}
	return len(object) == 0
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
