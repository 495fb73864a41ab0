package proxy_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"tilegate/auth"
	"tilegate/internal/issuer"
	"tilegate/internal/tile"
	"tilegate/proxy"
	"tilegate/proxy/wire"
)

var update = flag.Bool("update", false, "write docs/api.md out of openapi.json")

// The reference is openapi.json; docs/api.md is written out of it. Each response has an example of a request that gets it,
// and the tests here call all of them.

type apiDocument struct {
	Tags       []struct{ Name string }
	Paths      map[string]map[string]json.RawMessage
	Components struct{ Schemas map[string]apiSchema }
}

type apiOperation struct {
	method, path string

	Tags        []string
	Summary     string
	Description string
	Parameters  []struct {
		Name, In, Description string
		Required              bool
	}
	RequestBody *struct {
		Required bool
		Content  map[string]struct{ Example json.RawMessage }
	}
	Responses map[string]apiResponse
}

type apiResponse struct {
	Description string
	Headers     map[string]struct{ Description, Example string }
	Content     map[string]struct {
		Schema  apiSchema
		Example json.RawMessage
	}
	Request *apiRequest `json:"x-example-request"`
}

// apiRequest is a request that gets the response. Words with a $ stand for credentials.
type apiRequest struct {
	Path    string
	Headers map[string]string
	Body    *string
	Admin   bool   // at the admin listener
	Locked  bool   // which wants a token
	Fault   string // what is wrong at the origin
	Verify  string // auth.verify_header
	Revoked string // a subject that is revoked
	Vend    *bool  // whether a tileset has vend: true
}

type apiSchema struct {
	Ref        string `json:"$ref"`
	Properties map[string]apiSchema
	Required   []string
	Items      *apiSchema
}

func apiReference(t *testing.T) (apiDocument, []apiOperation) {
	t.Helper()
	text, err := os.ReadFile("openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	var d apiDocument
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	var all []apiOperation
	for _, path := range inOrder(t, text, slices.Collect(maps.Keys(d.Paths))) {
		for _, method := range []string{"get", "post", "delete"} {
			if d.Paths[path][method] == nil {
				continue
			}
			o := apiOperation{method: strings.ToUpper(method), path: path}
			if err := json.Unmarshal(d.Paths[path][method], &o); err != nil {
				t.Fatalf("%s %s: %v", method, path, err)
			}
			all = append(all, o)
		}
	}
	return d, all
}

// inOrder sorts members by where they stand in a document.
func inOrder(t *testing.T, document []byte, names []string) []string {
	t.Helper()
	at := func(name string) int { return bytes.Index(document, []byte(strconv.Quote(name)+": {")) }
	slices.SortFunc(names, func(a, b string) int { return at(a) - at(b) })
	return names
}

// TestAPIReferenceHasEachRoute fails for a route that is in the source and not in openapi.json, which TestAPIPageIsCurrent
// carries into docs/api.md, or the other way around.
func TestAPIReferenceHasEachRoute(t *testing.T) {
	_, all := apiReference(t)
	w, _ := build(t, withViewer)
	documented := map[string]bool{}
	for _, o := range all {
		documented[o.method+" "+o.path] = true
	}
	for route := range w.proxy.Routes() {
		if !documented[strings.TrimSuffix(route, "/viewer/")+strings.Repeat("/viewer/{path}", strings.Count(route, "/viewer/"))] {
			t.Errorf("openapi.json lacks %s", route)
		}
	}
	used := map[string]bool{}
	for _, literal := range routeLiterals(t) {
		method, path, ok := strings.Cut(literal, " ")
		if !ok {
			method, path = "", literal
		}
		found := false
		for _, o := range all {
			if (method == "" || method == o.method) && fits(o.path, path) {
				found = true
			}
			used[o.path] = used[o.path] || strings.HasPrefix(o.path, path)
		}
		if !found {
			t.Errorf("a route of the source, %q, is not in openapi.json", literal)
		}
	}
	for _, o := range all {
		if !used[o.path] {
			t.Errorf("openapi.json has %s, which the source does not", o.path)
		}
	}
}

// routeLiterals are the paths that the functions which find a handler compare with, and the constants that they use.
func routeLiterals(t *testing.T) (literals []string) {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	routing := []string{"route", "addRoutes", "Admin"}
	found := 0
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		collect := func(n ast.Node) bool {
			if l, ok := n.(*ast.BasicLit); ok && l.Kind == token.STRING {
				s, err := strconv.Unquote(l.Value)
				if _, path, ok := strings.Cut(s, " "); err == nil && s != "/" && (strings.HasPrefix(s, "/") || ok && strings.HasPrefix(path, "/")) {
					literals = append(literals, s)
				}
			}
			return true
		}
		for _, d := range file.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if slices.Contains(routing, d.Name.Name) {
					found++
					ast.Inspect(d.Body, collect)
				}
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					if v, ok := spec.(*ast.ValueSpec); ok && d.Tok == token.CONST && strings.HasSuffix(v.Names[0].Name, "Path") {
						ast.Inspect(v, collect)
					}
				}
			}
		}
	}
	if found != len(routing) {
		t.Fatalf("found %d of the functions %q", found, routing)
	}
	return append(literals, "GET /")
}

// fits reports whether a documented path covers one of the source, which is a prefix where it ends in a slash.
func fits(documented, path string) bool {
	if strings.HasSuffix(path, "/") && path != "/" {
		return strings.HasPrefix(documented, path)
	}
	return slices.EqualFunc(strings.Split(documented, "/"), strings.Split(path, "/"), func(d, p string) bool { return d == p || strings.HasPrefix(d, "{") })
}

// exampleWorld is a tilegate in which the examples are called.
func exampleWorld(t *testing.T, r *apiRequest) *world {
	t.Helper()
	viewed := func(s *setup) {
		s.proxy.Usage = proxy.NewUsage()
		s.proxy.PublicURL = "https://tiles.example.com"
		s.proxy.CORS.Origins = []string{"https://app.example.com"}
		s.proxy.Vend = (&vendor{}).Vend
		s.tileset("basemap").Vend = true
		if r.Vend != nil && !*r.Vend {
			s.proxy.Vend, s.tileset("basemap").Vend = nil, false
		}
		s.proxy.Reload = func(context.Context) (*proxy.Reloaded, error) {
			switch r.Fault {
			case "configuration":
				return nil, errors.New("tilegate.yaml:3:1: tilesets: is required; describe at least one")
			case "ending":
				return nil, proxy.ErrNoReload
			}
			return &proxy.Reloaded{Changed: []string{"tilesets"}, NeedsRestart: []string{"cache.memory"}}, nil
		}
		if r.Fault == "not ready" {
			s.proxy.Readiness = []proxy.Readiness{{Name: "origin", Missing: func() []string { return []string{"S3 has not answered yet for basemap"} }}}
		}
	}
	verify := "X-Original-URI"
	if r.Verify != "" {
		verify = r.Verify
	}
	file := &bucketFile{}
	file.put(streets(t, "first"))
	if r.Fault == "slow down" {
		file.onRequest(func(int) error { return tile.ErrSlowDown })
	}
	archived := func(s *setup) {
		if strings.Contains(r.Path, ".pmtiles") {
			withArchive(file, raw)(s)
		}
	}
	login := func(*setup) {}
	now := func() time.Time { return noon }
	if strings.HasPrefix(r.Path, "/log") {
		var provider *issuer.Issuer
		provider, login = loginAt(t, func() time.Time { return now() })
		switch r.Fault {
		case "provider":
			provider.Fail(500)
		case "refused":
			provider.SignIn("")
		case "audience":
			change := login
			login = func(s *setup) {
				change(s)
				s.auth.Issuers[0].Audience = []string{"elsewhere"}
			}
		case "secret":
			change := login
			login = func(s *setup) {
				change(s)
				s.proxy.Login.ClientSecret = "another"
			}
		}
	}
	w := start(t, viewed, login, archived, withViewer, trustLoopback, verifies(verify), cartography(func(b *proxy.Bundle) {
		b.With, b.Styles = []string{"basemap"}, map[string]string{"basic": "style.json"}
	}))
	now = w.clock.Now
	w.origin.put("basemap", 7, 66, 44, tilePNG)
	w.origin.putKey(tile.Key{Tileset: "bundle:cartography", Path: "glyphs/Noto Sans Regular/0-255.pbf"}, object{body: "\x0a\x04test", etag: `"glyphs"`, modified: modified})
	w.origin.presign = func(tileKey) (tile.Signed, error) {
		return tile.Signed{URL: "https://acme-private-tiles.s3.eu-central-1.amazonaws.com/basemap/7/66/44.png?X-Amz-Signature=…", Expires: noon.Add(15 * time.Minute), Constant: time.Hour}, nil
	}
	if err := map[string]error{"unreachable": tile.ErrUnreachable, "slow down": tile.ErrSlowDown, "timeout": tile.ErrTimeout, "no credentials": tile.ErrNoCredentials}[r.Fault]; err != nil {
		w.origin.respond(fails(err))
		w.origin.presign = func(tileKey) (tile.Signed, error) { return tile.Signed{}, err }
	}
	if r.Revoked != "" {
		if err := w.auth.Revoke(auth.Revocation{Subject: r.Revoked}); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// ask calls an example.
func (r *apiRequest) ask(t *testing.T, method string) reply {
	t.Helper()
	w := exampleWorld(t, r)
	access := w.tokenFor("alice", time.Hour, auth.Limits{Tilesets: []string{"*"}})
	narrow := w.tokenFor("bob", time.Hour, auth.Limits{Tilesets: []string{"basemap"}, Zoom: &tile.ZoomRange{Min: 1, Max: 12}, BBox: &tile.Box{West: 5, South: 45, East: 15, North: 55}})
	credentials := []string{"$LARGE", strings.Repeat(" ", 65<<10) + "{}"}
	add := func(name string, value func() string) {
		if text := fmt.Sprint(r.Path, r.Headers); strings.Contains(text, name) {
			credentials = append(credentials, name, value())
		}
	}
	add("$ACCESS_TOKEN", func() string { return access })
	add("$NARROW_TOKEN", func() string { return narrow })
	add("$FILE_TOKEN", func() string { return w.token("file:*") })
	add("$PATH_TOKEN", func() string { return w.pathToken(access) })
	add("$NARROW_PATH_TOKEN", func() string { return w.pathToken(narrow) })
	add("$SESSION", func() string { return w.session(access) })
	if strings.Contains(r.Path, "$CODE") {
		b := newBrowser(w)
		callback, err := url.Parse(b.begin("/login"))
		if err != nil {
			t.Fatal(err)
		}
		credentials = append(credentials, "$CODE", callback.RawQuery, "$ATTEMPT", b.cookies["__Host-tilegate-login"])
	}
	fill := strings.NewReplacer(credentials...)
	if r.Path == "/admin/usage" {
		w.wantStatus(200, "/tiles/basemap/7/66/44.png", "Authorization", "Bearer "+access)
	}
	if r.Admin {
		var secret []byte
		if r.Locked {
			secret = []byte("admin-secret")
		}
		registry := prometheus.NewRegistry()
		w.address = serve(t, &wire.Server{Handler: w.proxy.Admin(promhttp.HandlerFor(registry, promhttp.HandlerOpts{}), secret)})
	}
	body := ""
	if r.Body != nil {
		body = fill.Replace(*r.Body)
	}
	request := w.request(method, fill.Replace(r.Path), body)
	for name, value := range r.Headers {
		request.Header.Set(name, fill.Replace(value))
	}
	response, err := w.client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	got := readAll(response)
	got.body = strings.NewReplacer(slices.Concat([]string{w.address, "127.0.0.1:8080"})...).Replace(got.body)
	return got
}

// TestAPIExamplesAreTrue calls each example.
func TestAPIExamplesAreTrue(t *testing.T) {
	d, all := apiReference(t)
	for _, o := range all {
		for _, status := range slices.Sorted(maps.Keys(o.Responses)) {
			t.Run(o.method+" "+o.path+" "+status, func(t *testing.T) {
				r := o.Responses[status]
				if r.Request == nil {
					t.Fatal("no example")
				}
				got := r.Request.ask(t, o.method)
				if strconv.Itoa(got.status) != status {
					t.Fatalf("got %d %s", got.status, got.body)
				}
				for name, h := range r.Headers {
					if value := strings.Join(got.header.Values(name), ", "); value == "" || !matches(h.Example, value) {
						t.Errorf("%s: got %q, want %q", name, value, h.Example)
					}
				}
				if len(r.Content) == 0 {
					if got.body != "" {
						t.Errorf("got a body of type %s", got.header.Get("Content-Type"))
					}
					return
				}
				for contentType, content := range r.Content {
					if got.header.Get("Content-Type") != contentType {
						t.Errorf("got the type %q, want %q", got.header.Get("Content-Type"), contentType)
					}
					if content.Example == nil {
						continue
					}
					var want, have any
					if err := errors.Join(json.Unmarshal(content.Example, &want), json.Unmarshal([]byte(got.body), &have)); err != nil {
						t.Fatal(err)
					}
					if !same(want, have) {
						t.Errorf("got %s\nwant %s", got.body, content.Example)
					}
					d.hold(t, content.Schema, have, "the body")
				}
			})
		}
	}
}

// matches compares a text with an example in which … stands for anything.
func matches(example, text string) bool {
	parts := strings.Split(example, "…")
	for i, part := range parts {
		at := strings.Index(text, part)
		if at < 0 || i == 0 && at > 0 {
			return false
		}
		text = text[at+len(part):]
	}
	return text == "" || strings.HasSuffix(example, "…")
}

func same(example, value any) bool {
	switch e := example.(type) {
	case string:
		v, ok := value.(string)
		return ok && matches(e, v)
	case map[string]any:
		v, ok := value.(map[string]any)
		return ok && maps.EqualFunc(e, v, same)
	case []any:
		v, ok := value.([]any)
		return ok && slices.EqualFunc(e, v, same)
	}
	return example == value
}

// hold checks a value against a schema: members that are required, and members that there are.
func (d *apiDocument) hold(t *testing.T, s apiSchema, value any, where string) {
	t.Helper()
	if name, ok := strings.CutPrefix(s.Ref, "#/components/schemas/"); ok {
		s, ok = d.Components.Schemas[name]
		if !ok {
			t.Errorf("there is no schema %s", name)
		}
	}
	switch v := value.(type) {
	case map[string]any:
		if s.Properties == nil {
			return
		}
		for _, name := range s.Required {
			if _, ok := v[name]; !ok {
				t.Errorf("%s lacks %q", where, name)
			}
		}
		for name, member := range v {
			property, ok := s.Properties[name]
			if !ok {
				t.Errorf("%s has %q, which its schema does not have", where, name)
			}
			d.hold(t, property, member, where+"."+name)
		}
	case []any:
		if s.Items != nil {
			for _, element := range v {
				d.hold(t, *s.Items, element, where+"[]")
			}
		}
	}
}

// TestOpenAPIIsServed: what clients read is what was tested.
func TestOpenAPIIsServed(t *testing.T) {
	text, err := os.ReadFile("openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	got := start(t).get("/openapi.json")
	if got.status != http.StatusOK || got.body != string(text) || got.header.Get("Content-Type") != "application/json" {
		t.Errorf("got %d of type %q, %d bytes", got.status, got.header.Get("Content-Type"), len(got.body))
	}
}

// TestAPIPageIsCurrent compares docs/api.md with what openapi.json says; -update writes it.
func TestAPIPageIsCurrent(t *testing.T) {
	d, all := apiReference(t)
	const page = "../docs/api.md"
	want := apiPage(d, all)
	if *update {
		if err := os.WriteFile(page, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if have, err := os.ReadFile(page); err != nil || string(have) != want {
		t.Errorf("docs/api.md does not say what openapi.json does (%v): go test ./proxy -run TestAPIPageIsCurrent -update", err)
	}
}

const apiIntroduction = `# The HTTP API

This page lists every route of tilegate. It is written out of [openapi.json](../proxy/openapi.json), which each server has at
` + "`/openapi.json`" + ` (OpenAPI 3.1). The tests call each example.

- **Credentials** are looked for in this order: ` + "`Authorization`" + ` (` + "`Bearer`" + `, or ` + "`Basic`" + ` with the token as the password) and the headers of
  ` + "`token_header`" + `, ` + "`X-API-Key`" + `, the token in the path, the query parameter of ` + "`auth.query_parameter`" + `, the session cookie. The first one found
  decides. Routes that need none say so; public tilesets need none either.
- **Methods**: ` + "`HEAD`" + ` is accepted where ` + "`GET`" + ` is. Another method is 405 with ` + "`Allow`" + `. ` + "`OPTIONS`" + ` is answered everywhere (CORS).
- **Errors** are ` + "`application/problem+json`" + ` (RFC 9457). An image element gets no body. Besides the statuses below, every route may answer
  403 without the CDN's secret, 429 when a limit of ` + "`limits`" + ` is reached, 429 and 503 when one of ` + "`server.limits`" + ` is, and 431 for a header that is too large.
- In the examples, ` + "`…`" + ` stands for what differs from one answer to another. Other members may be added; clients must ignore those
  that they do not know.
`

func apiPage(d apiDocument, all []apiOperation) string {
	var b strings.Builder
	b.WriteString(apiIntroduction)
	cell := func(s string) string { return strings.ReplaceAll(s, "|", `\|`) }
	for _, tag := range d.Tags {
		fmt.Fprintf(&b, "\n## %s\n", tag.Name)
		for _, o := range all {
			if o.Tags[0] != tag.Name {
				continue
			}
			fmt.Fprintf(&b, "\n### `%s %s`\n\n%s %s\n", o.method, o.path, strings.TrimSuffix(o.Summary+".", "?.")+strings.Repeat("?", strings.Count(o.Summary, "?")), o.Description)
			if o.Parameters != nil {
				b.WriteString("\n| parameter | in | meaning |\n| --- | --- | --- |\n")
				for _, p := range o.Parameters {
					fmt.Fprintf(&b, "| `%s` | %s | %s |\n", p.Name, p.In, cell(p.Description))
				}
			}
			if o.RequestBody != nil {
				need := "The body may be left out"
				if o.RequestBody.Required {
					need = "The body"
				}
				fmt.Fprintf(&b, "\n%s:\n\n```json\n%s\n```\n", need, o.RequestBody.Content["application/json"].Example)
			}
			b.WriteString("\n| status | when | headers |\n| --- | --- | --- |\n")
			statuses := slices.Sorted(maps.Keys(o.Responses))
			for _, status := range statuses {
				var headers []string
				for _, name := range slices.Sorted(maps.Keys(o.Responses[status].Headers)) {
					headers = append(headers, fmt.Sprintf("`%s: %s`", name, o.Responses[status].Headers[name].Example))
				}
				fmt.Fprintf(&b, "| %s | %s | %s |\n", status, cell(o.Responses[status].Description), cell(strings.Join(headers, "<br>")))
			}
			b.WriteString("\n")
			for _, status := range statuses {
				if problem := o.Responses[status].Content[problemJSON].Example; problem != nil {
					fmt.Fprintf(&b, "- %s: `%s`\n", status, strings.ReplaceAll(oneLine(problem), "`", "'"))
				}
			}
			for _, status := range statuses {
				for _, contentType := range slices.Sorted(maps.Keys(o.Responses[status].Content)) {
					if example := o.Responses[status].Content[contentType].Example; example != nil && contentType != problemJSON {
						var lines bytes.Buffer
						if json.Indent(&lines, example, "", "  ") == nil {
							fmt.Fprintf(&b, "\n%s:\n\n```json\n%s\n```\n", status, compact(lines.String(), example))
						}
					}
				}
			}
		}
	}
	return b.String()
}

// compact writes a short example in one line.
func compact(lines string, example []byte) string {
	if line := oneLine(example); len(line) <= 140 {
		return line
	}
	return lines
}

func oneLine(example []byte) string {
	var line bytes.Buffer
	if err := json.Compact(&line, example); err != nil {
		return err.Error()
	}
	return line.String()
}
