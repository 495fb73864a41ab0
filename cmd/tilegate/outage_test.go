package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"tilegate/internal/fakeaws"
	"tilegate/internal/issuer"
)

// night is one tilegate through an operator's worst hours: it is never restarted, and all that was ever
// a credential is remembered, to be looked for in its log at the end.
type night struct {
	s3, keys, admin string // addresses where nothing listens at first
	config          string
	tilegate        *program
	bucket          *fakeaws.Server
	issuer          *issuer.Issuer
	keyServer       *http.Server
	tiles           map[string][]byte
	secrets         map[string]string // and what they are
	own, issued     []string          // headers of two viewers who may see all of basemap
}

func TestOperatorsNight(t *testing.T) {
	n := &night{s3: freeAddress(t), keys: freeAddress(t), admin: freeAddress(t), tiles: map[string][]byte{}, secrets: map[string]string{}}
	for path, body := range randomTiles(12) {
		n.tiles["basemap/"+path+".png"] = body
	}
	n.tiles["basemap/0/0/0.png"] = n.tiles["basemap/9/0/0.png"]
	n.begin(t)
	t.Cleanup(func() {
		if n.bucket != nil {
			_ = n.bucket.Close() // again, usually
		}
		if n.keyServer != nil {
			_ = n.keyServer.Close() // all has been said
		}
	})
	for _, hour := range []struct {
		name string
		test func(*testing.T)
	}{
		{"starts while STS, S3 and the issuer are down", n.startsWithoutAnything},
		{"says what is still missing and recovers by itself", n.recovers},
		{"S3 dies while tiles are warm", n.s3Dies},
		{"S3 comes back and knows no session any more", n.s3ComesBack},
		{"S3 breaks off in a body", n.bodyBreaksOff},
		{"AccessDenied is no missing tile", n.accessDenied},
		{"a revoked subject is out at once", n.revokedSubject},
		{"a revoked token is out at once", n.revokedToken},
		{"metrics are those documented and bounded", n.metrics},
		{"the log holds no credential", n.logHoldsNoCredential},
	} {
		if !t.Run(hour.name, hour.test) {
			return // the hours build upon each other
		}
	}
}

// freeAddress is one where nothing listens just now, and, being below the ports that systems give out by
// themselves, where nothing else will until it is used.
func freeAddress(t *testing.T) string {
	t.Helper()
	for range 100 {
		address := fmt.Sprintf("127.0.0.1:%d", 15_000+rand.IntN(15_000))
		if l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", address); err == nil {
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			return address
		}
	}
	t.Fatal("no free port")
	return ""
}

func (n *night) begin(t *testing.T) {
	key, _, _ := command(t, "keygen")
	n.secret("the signing key", strings.TrimSpace(key))
	n.secret("the base user's secret", testSecret)
	n.config = writeFile(t, "tilegate.yaml", fmt.Sprintf(`server: {listen: "127.0.0.1:0", admin_listen: %[1]q}
logging: {level: debug}
aws: {endpoint: "http://%[2]s", sts_endpoint: "http://%[2]s", path_style: true, role: {arn: %[3]q}}
cache: {fresh: 1s, stale: 1h, missing_for: 1s}
auth:
  issuers: [{issuer: "http://%[4]s", audience: [tiles], algorithms: [RS256], jwks_url: "http://%[4]s/jwks.json", jwks_refresh: 1s, allow: {tilesets: ["*"]}}]
  signing_keys: [{file: %[5]q}]
  query_parameter: access_token
tilesets:
  basemap: {vend: true, source: "s3://tiles/basemap/{z}/{x}/{y}.png"}
`, n.admin, n.s3, testRole, n.keys, writeFile(t, "tilegate.key", key)))
	var err error
	if n.issuer, err = issuer.New(issuer.Options{URL: "http://" + n.keys}); err != nil {
		t.Fatal(err)
	}
	n.tilegate, _ = start(t, baseCredentials(testKey, testSecret), "serve", "-c", n.config)
	n.own = n.bearer(t, "ada")
	n.issued = n.bearerOfIssuer(t, "ada")
}

// secret remembers what must never be in the log, and the parts of it that are as bad.
func (n *night) secret(what, value string) {
	n.secrets[value] = what
	if parts := strings.Split(value, "."); len(parts) == 3 { // a JWT
		n.secrets[parts[2]] = what + "'s signature"
	}
}

func (n *night) bearer(t *testing.T, subject string, args ...string) []string {
	t.Helper()
	token := mintToken(t, n.config, append([]string{"--tilesets", "basemap", "--subject", subject}, args...)...)
	n.secret("a token", token)
	return []string{"Authorization", "Bearer " + token}
}

func (n *night) bearerOfIssuer(t *testing.T, subject string) []string {
	t.Helper()
	token, err := n.issuer.Token("RS256", map[string]any{"sub": subject, "aud": "tiles", "tilesets": []string{"basemap"}})
	if err != nil {
		t.Fatal(err)
	}
	n.secret("an issuer's token", token)
	return []string{"Authorization", "Bearer " + token}
}

// startS3 starts S3 and STS, at the address that tilegate knows, with the role's policy.
func (n *night) startS3(t *testing.T, faults ...fakeaws.Fault) (removeFaults func()) {
	t.Helper()
	s, err := fakeaws.Start(fakeaws.Options{Addr: n.s3})
	if err != nil {
		t.Fatal(err)
	}
	remove := func() {}
	for _, f := range faults {
		remove = s.Inject(f)
	}
	n.bucket = s
	s.CreateBucket("tiles")
	for key, body := range n.tiles {
		s.Put("tiles", key, fakeaws.Object{Body: body})
	}
	if err := s.AddUser(fakeaws.User{AccessKeyID: testKey, SecretAccessKey: testSecret}); err != nil {
		t.Fatal(err)
	}
	n.allow(t, "s3:GetObject", "s3:ListBucket")
	return remove
}

// allow changes what the role may do, and ends the sessions that were issued before.
func (n *night) allow(t *testing.T, actions ...string) {
	t.Helper()
	list, err := json.Marshal(actions)
	if err != nil {
		t.Fatal(err)
	}
	err = n.bucket.AddRole(fakeaws.Role{
		ARN: testRole, TrustedUsers: []string{testKey},
		Policy: fmt.Sprintf(`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":%s,"Resource":["arn:aws:s3:::tiles","arn:aws:s3:::tiles/*"]}}`, list),
	})
	if err != nil {
		t.Fatal(err)
	}
	n.bucket.ExpireSessions()
}

// stopS3 is a crash: connections are cut, nothing listens any more.
func (n *night) stopS3(t *testing.T) {
	t.Helper()
	n.rememberRequests()
	if err := n.bucket.Close(); err != nil {
		t.Error(err)
	}
}

var signatureOf = regexp.MustCompile(`Signature=([0-9a-f]{64})`)

// rememberRequests remembers the credentials that tilegate has sent to S3 and STS.
func (n *night) rememberRequests() {
	for _, r := range n.bucket.Requests() {
		if token := r.Header.Get("X-Amz-Security-Token"); token != "" {
			n.secret("a session token of STS", token)
		}
		if found := signatureOf.FindStringSubmatch(r.Header.Get("Authorization")); found != nil {
			n.secret("a signature to AWS", found[1])
		}
	}
}

type readyAnswer struct {
	Status            string
	Missing, Degraded []string
}

func (n *night) ready(t *testing.T) (status int, said readyAnswer) {
	t.Helper()
	answer, body := get(t, n.tilegate.url+"/ready")
	n.leaksNothing(t, "/ready", bytes.ReplaceAll(body, []byte("http://"+n.keys), []byte("the issuer"))) // as every token names it
	if err := json.Unmarshal(body, &said); err != nil {
		t.Fatalf("/ready: %v in %s", err, body)
	}
	return answer.StatusCode, said
}

// leaksNothing wants no word of what lies behind tilegate.
func (n *night) leaksNothing(t *testing.T, what string, body []byte) {
	t.Helper()
	for _, inner := range []string{n.s3, n.keys, "127.0.0.1", "s3://", "basemap/", "arn:", "AKIA", "ASIA", "123456789012", testSecret, "dial", "connection", "connect:", "<Error>", "goroutine", ".go:", "http://"} {
		if bytes.Contains(body, []byte(inner)) {
			t.Errorf("%s tells of %q: %s", what, inner, body)
		}
	}
}

// problem wants a refusal in tilegate's own words.
func (n *night) problem(t *testing.T, what string, answer *http.Response, body []byte, statuses ...int) {
	t.Helper()
	var said struct {
		Status    int
		RequestID string `json:"request_id"`
	}
	if err := json.Unmarshal(body, &said); err != nil || !slices.Contains(statuses, answer.StatusCode) || said.Status != answer.StatusCode || said.RequestID == "" ||
		answer.Header.Get("Content-Type") != "application/problem+json" || answer.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("%s: got %s %v %s, want a problem of %v", what, answer.Status, answer.Header, body, statuses)
	}
	if answer.StatusCode == http.StatusServiceUnavailable && answer.Header.Get("Retry-After") == "" {
		t.Errorf("%s: 503 without Retry-After", what)
	}
	n.leaksNothing(t, what, body)
}

func (n *night) tile(path string) string { return n.tilegate.url + "/tiles/basemap/" + path + ".png" }

// served wants the tile, byte for byte.
func (n *night) served(t *testing.T, path string, headers ...string) error {
	t.Helper()
	answer, body, err := try(t.Context(), n.tile(path), headers...)
	switch {
	case err != nil:
		return err
	case answer.StatusCode != http.StatusOK:
		n.problem(t, path, answer, body, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout)
		return errors.New(answer.Status)
	case !bytes.Equal(body, n.tiles["basemap/"+path+".png"]):
		t.Fatalf("%s: got another body, of %d bytes", path, len(body))
	}
	return nil
}

func (n *night) startsWithoutAnything(t *testing.T) {
	if err := wantStatus(t, http.StatusOK, n.tilegate.url+"/health"); err != nil {
		t.Errorf("/health: %v", err)
	}
	eventually(t, "/ready says what is missing", func() error {
		status, said := n.ready(t)
		missing := strings.Join(said.Missing, "\n")
		for _, want := range []string{"origin: no credentials from the role tiles-reader yet", "S3 has not answered yet for basemap", "keys: "} {
			if status != http.StatusServiceUnavailable || said.Status != "not ready" || !strings.Contains(missing, want) {
				return fmt.Errorf("got %d %q, %q, want %q in it", status, said.Status, missing, want)
			}
		}
		return nil
	})
	for name, viewer := range map[string][]string{"own token": n.own, "issuer's token": n.issued} {
		answer, body := get(t, n.tile("9/0/0"), viewer...)
		n.problem(t, name, answer, body, http.StatusServiceUnavailable)
	}
	answer, body := get(t, n.tile("9/0/0"))
	n.problem(t, "nobody", answer, body, http.StatusUnauthorized)
}

func (n *night) recovers(t *testing.T) {
	// STS comes first, with an S3 that is not up to anything yet.
	s3Awakes := n.startS3(t, fakeaws.Fault{Op: "GetObject", Status: http.StatusServiceUnavailable, Code: "SlowDown"})
	eventually(t, "STS's part", func() error {
		status, said := n.ready(t)
		missing := strings.Join(said.Missing, "\n")
		if status != http.StatusServiceUnavailable || strings.Contains(missing, "credentials") || !strings.Contains(missing, "S3 has not answered yet") || !strings.Contains(missing, "keys: ") {
			return fmt.Errorf("got %d, %q", status, missing)
		}
		return nil
	})
	s3Awakes()
	keys, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", n.keys)
	if err != nil {
		t.Fatal(err)
	}
	n.keyServer = &http.Server{Handler: n.issuer.Handler()}
	go func() { _ = n.keyServer.Serve(keys) }() // until the night ends
	eventually(t, "ready by itself", func() error {
		if status, said := n.ready(t); status != http.StatusOK || said.Missing != nil {
			return fmt.Errorf("got %d %+v", status, said)
		}
		return nil
	})
	for name, viewer := range map[string][]string{"own token": n.own, "issuer's token": n.issued} {
		if err := n.served(t, "9/0/0", viewer...); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if t.Failed() {
		return
	}
	n.remember(t)
}

// remember collects the credentials that tilegate hands out.
func (n *night) remember(t *testing.T) {
	t.Helper()
	v := vend(t, n.tilegate, strings.TrimPrefix(n.own[1], "Bearer "))
	n.secret("a vended secret key", v.SecretAccessKey)
	n.secret("a vended session token", v.SessionToken)
	answer, body := get(t, n.tilegate.url+"/presign/basemap/9/0/0", n.own...)
	var presigned struct{ URL string }
	if err := json.Unmarshal(body, &presigned); err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("presign: got %s %s", answer.Status, body)
	}
	u, err := url.Parse(presigned.URL)
	if err != nil || u.Query().Get("X-Amz-Signature") == "" {
		t.Fatalf("presign: got %q, %v", presigned.URL, err)
	}
	n.secret("a presigned URL's signature", u.Query().Get("X-Amz-Signature"))
	n.secret("the role's session token", u.Query().Get("X-Amz-Security-Token"))
}

func (n *night) s3Dies(t *testing.T) {
	n.stopS3(t)
	stale := regexp.MustCompile(`^tilegate; hit; ttl=-\d+$`)
	eventually(t, "a stale hit", func() error {
		answer, body := get(t, n.tile("9/0/0"), n.own...)
		if answer.StatusCode != http.StatusOK || !bytes.Equal(body, n.tiles["basemap/9/0/0.png"]) {
			t.Fatalf("the warm tile: got %s with %d bytes", answer.Status, len(body))
		}
		if status := answer.Header.Get("Cache-Status"); !stale.MatchString(status) {
			return fmt.Errorf("Cache-Status %q", status)
		}
		return nil
	})
	answer, body := get(t, n.tile("9/0/1"), n.own...)
	n.problem(t, "a cold tile", answer, body, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout)
	answer, body = get(t, n.tile("9/0/0"))
	n.problem(t, "nobody, on the stale tile", answer, body, http.StatusUnauthorized)
	answer, body = get(t, n.tile("9/0/0"), n.bearer(t, "ada", "--zoom", "0-3")...)
	n.problem(t, "zooms below, on the stale tile", answer, body, http.StatusForbidden)
	if status, said := n.ready(t); status != http.StatusOK || said.Status != "degraded" || !strings.Contains(strings.Join(said.Degraded, "\n"), "basemap") {
		t.Errorf("/ready through the outage: got %d %+v, want 200, degraded, and basemap named", status, said)
	}
}

func (n *night) s3ComesBack(t *testing.T) {
	_ = n.startS3(t)
	eventually(t, "the cold tile", func() error { return n.served(t, "9/0/1", n.own...) })
	eventually(t, "nothing degraded", func() error {
		if status, said := n.ready(t); status != http.StatusOK || said.Status != "ready" {
			return fmt.Errorf("got %d %+v", status, said)
		}
		return nil
	})
}

func (n *night) bodyBreaksOff(t *testing.T) {
	const cold = "9/0/2"
	n.bucket.Inject(fakeaws.Fault{Op: "GetObject", Key: "basemap/" + cold + ".png", Times: 1, TruncateAt: new(int64(50))})
	if err := n.served(t, cold, n.own...); err != nil {
		t.Errorf("a body that breaks off once: %v", err)
	}
	if got := n.bucket.Count("GetObject", "tiles", "basemap/"+cold+".png"); got != 2 {
		t.Errorf("got %d GetObjects, want one and its resumption", got)
	}
}

func (n *night) accessDenied(t *testing.T) {
	wantEventually := func(path string, want int) {
		t.Helper()
		eventually(t, fmt.Sprintf("%d for %s", want, path), func() error {
			answer, body := get(t, n.tile(path), n.own...)
			if answer.StatusCode == http.StatusNotFound && want != http.StatusNotFound {
				t.Fatalf("broken credentials look like a hole in the map: %s %s", answer.Status, body)
			}
			if answer.StatusCode != want {
				return errors.New(answer.Status)
			}
			switch want {
			case http.StatusBadGateway:
				n.problem(t, path, answer, body, want)
			case http.StatusNotFound:
				n.leaksNothing(t, path, body)
			}
			return nil
		})
	}
	n.allow(t, "s3:PutObject")
	wantEventually("9/0/3", http.StatusBadGateway) // it is there
	wantEventually("9/9/9", http.StatusBadGateway) // it is not, and nobody can know
	if err := n.served(t, "9/0/0", n.own...); err != nil {
		t.Errorf("the warm tile: %v", err)
	}
	// Without ListBucket S3 answers 403 for what is missing, too; that is 404.
	n.allow(t, "s3:GetObject")
	wantEventually("9/0/3", http.StatusOK)
	wantEventually("9/9/9", http.StatusNotFound)
	n.allow(t, "s3:GetObject", "s3:ListBucket")
	wantEventually("9/0/4", http.StatusOK)
}

// revoke asks the admin listener to.
func (n *night) revoke(t *testing.T, what, value string) {
	t.Helper()
	body, err := json.Marshal(map[string]string{what: value})
	if err != nil {
		t.Fatal(err)
	}
	if answer, said := send(t, http.MethodPost, "http://"+n.admin+"/admin/revoke", string(body), "Origin", n.tilegate.url); answer.StatusCode != http.StatusForbidden {
		t.Errorf("a page revokes: got %s %s, want 403", answer.Status, said)
	}
	if answer, said := send(t, http.MethodPost, n.tilegate.url+"/admin/revoke", string(body)); answer.StatusCode < 400 {
		t.Errorf("the public listener revokes: got %s %s", answer.Status, said)
	}
	if answer, said := send(t, http.MethodPost, "http://"+n.admin+"/admin/revoke", string(body)); answer.StatusCode != http.StatusOK {
		t.Fatalf("revoke: got %s %s, want 200", answer.Status, said)
	}
}

// way is one way in to the same tile: a URL, and headers.
type way struct {
	url     string
	headers []string
}

// ways are all the ways in that one access token opens: the header, the query, and what is minted from it.
func (n *night) ways(t *testing.T, bearer []string) map[string]way {
	t.Helper()
	token := strings.TrimPrefix(bearer[1], "Bearer ")
	basic := base64.StdEncoding.EncodeToString([]byte("qgis:" + token))
	n.secret("Basic credentials", basic)
	cookie := signIn(t, n.tilegate.url, token)
	_, value, _ := strings.Cut(cookie, "=")
	n.secret("a session cookie", value)
	tile := n.tile("9/0/0")
	ways := map[string]way{
		"bearer": {tile, bearer}, "Basic": {tile, []string{"Authorization", "Basic " + basic}},
		"query": {tile + "?access_token=" + token, nil}, "session cookie": {tile, []string{"Cookie", cookie}},
	}
	for name, parent := range map[string][]string{"path token": bearer, "path token of the session": {"Cookie", cookie}} {
		answer, body := send(t, http.MethodPost, n.tilegate.url+"/tokens", "{}", parent...)
		var minted struct{ Token string }
		if err := json.Unmarshal(body, &minted); err != nil || answer.StatusCode != http.StatusOK {
			t.Fatalf("POST /tokens: got %s %s", answer.Status, body)
		}
		n.secret("a "+name, minted.Token)
		ways[name] = way{strings.Replace(tile, "/tiles/", "/t/"+minted.Token+"/tiles/", 1), nil}
	}
	for name, w := range ways {
		if err := wantStatus(t, http.StatusOK, w.url, w.headers...); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	return ways
}

// wantOut wants every way to be closed now, not soon, though the tile is warm.
func (n *night) wantOut(t *testing.T, ways map[string]way) {
	t.Helper()
	for name, w := range ways {
		for _, headers := range [][]string{nil, {"If-None-Match", "*"}, {"Range", "bytes=0-1"}} {
			answer, body := get(t, w.url, append(headers, w.headers...)...)
			n.problem(t, name, answer, body, http.StatusUnauthorized)
		}
	}
}

func (n *night) revokedSubject(t *testing.T) {
	eve, evesIssued := n.ways(t, n.bearer(t, "eve")), n.ways(t, n.bearerOfIssuer(t, "eve"))
	others := n.ways(t, n.bearer(t, "bob"))
	n.revoke(t, "subject", "eve")
	n.wantOut(t, eve)
	n.wantOut(t, evesIssued)
	for name, w := range n.ways(t, n.bearer(t, "eve")) {
		if err := wantStatus(t, http.StatusOK, w.url, w.headers...); err != nil {
			t.Errorf("the subject's %s that was issued after the revocation: %v", name, err)
		}
	}
	for name, w := range others {
		if err := wantStatus(t, http.StatusOK, w.url, w.headers...); err != nil {
			t.Errorf("another subject's %s: %v", name, err)
		}
	}
}

func (n *night) revokedToken(t *testing.T) {
	stolen, kept := n.bearer(t, "mallory"), n.bearer(t, "mallory")
	claims, err := base64.RawURLEncoding.DecodeString(strings.Split(stolen[1], ".")[1])
	var said struct{ JTI string }
	if err != nil || json.Unmarshal(claims, &said) != nil || said.JTI == "" {
		t.Fatalf("a token without jti: %s, %v", claims, err)
	}
	out, in := n.ways(t, stolen), n.ways(t, kept)
	n.revoke(t, "token_id", said.JTI)
	n.wantOut(t, out)
	for name, w := range in {
		if err := wantStatus(t, http.StatusOK, w.url, w.headers...); err != nil {
			t.Errorf("the %s of the same subject's other token: %v", name, err)
		}
	}
}

var (
	sample   = regexp.MustCompile(`(?m)^(tilegate_\w+?)(?:\{(.*)\})? (\S+)$`)
	labelled = regexp.MustCompile(`(\w+)="((?:[^"\\]|\\.)*)"`)
	suffixes = regexp.MustCompile(`_(bucket|sum|count)$`)
)

// families reads the labels' values of each tilegate_* metric, and counts the series.
func (n *night) families(t *testing.T) (families map[string]map[string][]string, series int) {
	t.Helper()
	answer, body := get(t, "http://"+n.admin+"/metrics")
	if answer.StatusCode != http.StatusOK || !bytes.Contains(body, []byte("\ngo_goroutines ")) {
		t.Fatalf("/metrics: got %s", answer.Status)
	}
	families = map[string]map[string][]string{}
	for _, line := range sample.FindAllStringSubmatch(string(body), -1) {
		series++
		name := line[1]
		if strings.Contains(name, "_duration_seconds") {
			name = suffixes.ReplaceAllString(name, "")
		}
		if families[name] == nil {
			families[name] = map[string][]string{}
		}
		for _, label := range labelled.FindAllStringSubmatch(line[2], -1) {
			if label[1] != "le" {
				families[name][label[1]] = append(families[name][label[1]], label[2])
			}
		}
	}
	for secret, what := range n.secrets {
		if bytes.Contains(body, []byte(secret)) {
			t.Errorf("/metrics holds %s", what)
		}
	}
	return families, series
}

// documented reads the table of docs/operations.md: each metric's labels.
func documented(t *testing.T) map[string][]string {
	t.Helper()
	text, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	word := regexp.MustCompile("`([a-z_]+)`")
	metrics := map[string][]string{}
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(line, "|")
		if len(cells) < 4 || !strings.Contains(cells[1], "`tilegate_") {
			continue
		}
		var labels []string
		for _, label := range word.FindAllStringSubmatch(cells[2], -1) {
			labels = append(labels, label[1])
		}
		for _, name := range word.FindAllStringSubmatch(cells[1], -1) {
			metrics[name[1]] = labels
		}
	}
	return metrics
}

func (n *night) metrics(t *testing.T) {
	names := documented(t)
	if len(names) < 10 {
		t.Fatalf("docs/operations.md documents only %d metrics", len(names))
	}
	// Every status that strangers can cause is there once; then neither more of them nor others add a series.
	stranger := func(i int) {
		for _, path := range []string{
			fmt.Sprintf("/tiles/tileset-%d/0/0/0.png", i), fmt.Sprintf("/tiles/basemap/9/%d/%d.png", 30+i, i), fmt.Sprintf("/tiles/basemap/9/0/0.x%d", i),
			fmt.Sprintf("/tiles/basemap/%d/0/0", 40+i), fmt.Sprintf("/path-%d", i), fmt.Sprintf("/tiles/tileset-%d.json", i), fmt.Sprintf("/presign/tileset-%d/0/0/0", i),
			fmt.Sprintf("/files/file-%d/url", i), fmt.Sprintf("/t/token-%d/tiles/basemap/0/0/0", i),
		} {
			_, _ = get(t, n.tilegate.url+path, n.bearer(t, fmt.Sprintf("subject-%d", i))...)
			_, _ = get(t, n.tilegate.url+path)
			_, _ = send(t, fmt.Sprintf("METHOD%d", i), n.tilegate.url+path, "", n.own...)
		}
	}
	stranger(0)
	_, before := n.families(t)
	for i := range 5 {
		stranger(1 + i)
	}
	families, after := n.families(t)
	if after != before {
		t.Errorf("strangers' requests add series: %d before, %d after", before, after)
	}
	bounded := map[string]*regexp.Regexp{
		"tileset": regexp.MustCompile(`^(|basemap)$`),
		"status":  regexp.MustCompile(`^[2345]\d\d$`),
		"outcome": regexp.MustCompile(`^(hit|stale|miss|joined|none|failed|skipped|written|sent|dropped)$`),
		"class":   regexp.MustCompile(`^(ok|not_modified|missing|changed|denied|bad_answer|unreachable|slow_down|no_credentials|timeout|cancelled)$`),
		"role":    regexp.MustCompile(`^(role tiles-reader|default credential chain)$`),
		"result":  regexp.MustCompile(`^(ok|failed)$`),
		"version": regexp.MustCompile(`.`), "commit": regexp.MustCompile(`.`), "go": regexp.MustCompile(`^go1`),
		"action": regexp.MustCompile(`^(reject|slow|log)$`),
		"limit":  regexp.MustCompile(`^(requests|distinct_tiles|client_requests|client_connections)$`),
		"cdn":    regexp.MustCompile(`^(cloudfront|fastly|cloudflare)$`),
		"feed":   regexp.MustCompile(`^(revocations|logouts|purges)$`),
		"issuer": regexp.MustCompile("^" + regexp.QuoteMeta("http://"+n.keys) + "$"),
	}
	for name, labels := range families {
		want, ok := names[name]
		if got := slices.Sorted(maps.Keys(labels)); !ok || !slices.Equal(got, slices.Sorted(slices.Values(want))) {
			t.Errorf("%s with labels %q: docs/operations.md has %q", name, got, want)
		}
		for label, values := range labels {
			for _, value := range values {
				if bounded[label] == nil || !bounded[label].MatchString(value) {
					t.Errorf("%s has %s=%q", name, label, value)
				}
			}
		}
	}
	for name := range names {
		if families[name] == nil {
			t.Errorf("%s is documented, and not measured after all of this", name)
		}
	}
	// What the night was like can be read from them.
	for name, want := range map[string][2]string{
		"tilegate_origin_requests_total":      {"class", "denied"},
		"tilegate_origin_bodies_failed_total": {"tileset", "basemap"},
		"tilegate_origin_retries_total":       {"tileset", "basemap"},
		"tilegate_credentials_refresh_total":  {"result", "failed"},
		"tilegate_jwks_refresh_total":         {"result", "failed"},
		"tilegate_requests_total":             {"outcome", "stale"},
	} {
		if !slices.Contains(families[name][want[0]], want[1]) {
			t.Errorf("%s has no %s=%q: %q", name, want[0], want[1], families[name])
		}
	}
}

func (n *night) logHoldsNoCredential(t *testing.T) {
	// A token's last chance to slip in: where a path or a query is refused.
	for secret, what := range n.secrets {
		if what != "a path token" {
			continue
		}
		for _, path := range []string{"/t/" + secret, "/t/" + secret + "/", "/t/" + secret + "/nothing", "/t/" + secret + "/tiles/basemap/x", "/t//" + secret + "/tiles", "/T/../t/" + secret + "/tiles/basemap/0/0/0"} {
			raw(t, n.tilegate.url, http.MethodGet, path)
		}
		raw(t, n.tilegate.url, http.MethodGet, "/tiles/basemap/x?access_token="+secret, "X-Request-Id", "shown-in-the-log")
		raw(t, n.tilegate.url, http.MethodGet, "/tiles/basemap/9/0/0?access_token="+secret+"&access_token="+secret)
		raw(t, n.tilegate.url, http.MethodGet, "/tiles/basemap/9/0/0", "Authorization", "Digest "+secret)
		raw(t, n.tilegate.url, http.MethodGet, "/tiles/basemap/9/0/0", "Cookie", "tilegate="+secret)
		break
	}
	n.stopS3(t)
	if status := n.tilegate.terminate(t); status != 0 {
		t.Errorf("exit status %d, want 0", status)
	}
	log := n.tilegate.log()
	if lines := strings.Count(log, `"msg":"request"`); lines < 100 || !strings.Contains(log, "shown-in-the-log") || !strings.Contains(log, "origin credentials could not be refreshed") {
		t.Fatalf("the log has %d requests: is it this night's?", lines)
	}
	kinds := map[string]bool{}
	for secret, what := range n.secrets {
		kinds[what] = true
		if len(secret) < 16 {
			t.Errorf("%s is too short to look for", what)
		}
		if at := strings.Index(log, secret); at >= 0 {
			line := log[strings.LastIndex(log[:at], "\n")+1:]
			line, _, _ = strings.Cut(line, "\n")
			t.Errorf("%s is in the log: %.400s", what, line)
		}
	}
	for _, what := range []string{"a token", "an issuer's token", "a session cookie", "a path token", "Basic credentials", "a session token of STS", "a signature to AWS", "a vended secret key", "a presigned URL's signature"} {
		if !kinds[what] {
			t.Errorf("no %s was ever used", what)
		}
	}
}
