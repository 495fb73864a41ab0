package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"text/template"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"tilegate/configs"
	"tilegate/internal/fakeaws"
	"tilegate/internal/issuer"
	"tilegate/internal/worldmap"
	"tilegate/proxy/origin"
	"tilegate/proxy/viewer"
)

type demoCommand struct {
	Listen string   `default:"127.0.0.1:8080" placeholder:"ADDRESS" help:"The address of the map page and the tiles."`
	Admin  string   `default:"127.0.0.1:0" placeholder:"ADDRESS" help:"The address of the admin listener, on loopback."`
	CORS   []string `name:"cors" placeholder:"ORIGIN" help:"An origin whose pages may use the demo, too; may be repeated."`
}

// The demo's bucket, and who may read it: tilegate's own user may do nothing but assume the role.
const (
	demoBucket  = "private-world"
	demoArchive = "countries.pmtiles" // of vector tiles; it says itself what it holds
	demoStyles  = "cartography/"      // the style that draws it, with its glyphs and its sprite
	demoRole    = "arn:aws:iam::123456789012:role/tiles-reader"
	demoUser    = "AKIADEMOTILEGATE0001" //nolint:gosec // opens nothing outside of this process
)

// demoConfig is the configuration that the demo runs with.
var demoConfig = template.Must(template.New("demo").Parse(`server:
  listen: "{{.Listen}}"
  admin_listen: "{{.Admin}}"
  server_timing: true
  cors: {origins: [{{range .CORS}}{{printf "%q" .}}, {{end}}]}
logging: {format: text, level: warn, access: false}
aws:
  region: us-east-1
  endpoint: {{.Bucket}}
  sts_endpoint: {{.Bucket}}
  path_style: true
  role: {arn: "{{.Role}}", session_name: tilegate-demo, duration: 15m}
auth:
  issuers:
    - {issuer: "{{.Issuer}}", audience: [tiles], algorithms: [RS256], jwks_url: "{{.Issuer}}/jwks.json"}
tilesets:
  world:
    default: true
    source: s3://{{.BucketName}}/world/{z}/{x}/{y}@{scale}x.png
    version: "1"
    maxzoom: {{.MaxZoom}}
    name: The world, privately
    attribution: {{.Attribution}}
  {{.StyleTileset}}:
    source: s3://{{.BucketName}}/{{.Archive}}
    raw: true
bundles:
  cartography:
    source: s3://{{.BucketName}}/{{.Styles}}
    with: [{{.StyleTileset}}]
    spatial: false
    styles: {world: style.json}
`))

// demoAccounts are the people that the demo's issuer knows, and what their tokens say.
var demoAccounts = []struct {
	name, label, description string
	claims                   map[string]any
}{
	{"ada", "Ada", "all maps, every zoom", map[string]any{"tilesets": []string{"*"}}},
	{"bo", "Bo", "the images alone, and only zooms 0 to 2", map[string]any{"tilesets": "world", "zoom": "0-2"}},
	{"eve", "Eve", "Europe and what it touches, from zoom 2", map[string]any{"scope": "openid tiles:world tiles:countries", "zoom": "2-5", "bbox": []float64{-11, 35, 30, 60}}},
	{"nil", "Nil", "a valid token that grants nothing", map[string]any{"tilesets": []string{}}},
}

// Run serves the demo until ctx ends.
func (cmd demoCommand) Run(ctx context.Context, c *console) error {
	l, err := listenOn(ctx, cmd.Listen, "--listen")
	if err != nil {
		return err
	}
	defer l.Close() // serving closes it, too
	admin, err := listenOn(ctx, cmd.Admin, "--admin")
	if err != nil {
		return err
	}
	defer admin.Close()
	page := "http://" + l.Addr().String()

	bucket, secret, err := demoS3()
	if err != nil {
		return err
	}
	defer bucket.Close()
	tokens, err := startIssuer(ctx, page)
	if err != nil {
		return err
	}
	defer tokens.close()

	var text bytes.Buffer
	err = demoConfig.Execute(&text, map[string]any{
		"Listen": l.Addr().String(), "Admin": admin.Addr().String(), "CORS": cmd.CORS, "Bucket": bucket.URL(), "BucketName": demoBucket, "Archive": demoArchive,
		"Styles": demoStyles, "StyleTileset": worldmap.StyleTileset, "Role": demoRole,
		"Issuer": tokens.url, "MaxZoom": worldmap.MaxZoom, "Attribution": worldmap.Attribution,
	})
	if err != nil {
		return fmt.Errorf("write the demo's configuration: %w", err)
	}
	config, err := configs.Parse("demo.yaml", text.Bytes(), func(string) (string, bool) { return "", false })
	if err != nil {
		return usageError{fmt.Errorf("the demo's configuration, which has --admin and --cors: %w", err)}
	}
	more := extras{
		origins: func(o *origin.Options) {
			o.Base = func(context.Context) (aws.Credentials, error) {
				return aws.Credentials{AccessKeyID: demoUser, SecretAccessKey: secret, Source: "demo"}, nil
			}
		},
	}
	for _, a := range demoAccounts {
		more.viewer.Accounts = append(more.viewer.Accounts, viewer.Account{
			Name: a.name, Label: a.label, Description: a.description, TokenURL: tokens.url + "/token?account=" + a.name,
		})
	}
	token, err := tokens.issuer.Token("RS256", demoAccounts[0].claims)
	if err != nil {
		return fmt.Errorf("make a token: %w", err)
	}
	return withLog(config.Logging, c.err, func(log *serviceLog) error {
		s, err := newService(ctx, config, log, more)
		if err != nil {
			return err
		}
		if err := cmd.explain(c, page, bucket.URL(), token, "http://"+admin.Addr().String()); err != nil {
			return err
		}
		return s.run(ctx, listeners{public: l, admin: admin})
	})
}

// explain prints what to do with the demo.
func (demoCommand) explain(c *console, page, bucket, token, admin string) error {
	_, err := fmt.Fprintf(c.out, `tilegate demo: a private bucket, an STS, a token issuer, the proxy and a map page, in this process alone.

  The map          %[1]s/
  A token          %[3]s

  # a tile, with the token
  curl -fsS -H 'Authorization: Bearer %[3]s' -o tile.png -w '%%{http_code} %%{content_type} %%{size_download} bytes\n' %[1]s/tiles/world/1/0/0.png

  # the same without: 401
  curl -sS -w '\n%%{http_code}\n' %[1]s/tiles/world/1/0/0.png

  # the same straight at the bucket: 403
  curl -sS -w '\n%%{http_code}\n' '%[2]s/%[4]s/world/1/0/0.png'

  # what the cache holds, at the admin listener; /metrics is there, too
  curl -fsS %[5]s/admin/cache

Ctrl-C ends it.
`, page, bucket, token, demoBucket, admin)
	return err
}

// demoS3 starts the private bucket. Its objects are made when they are first asked for.
func demoS3() (s *fakeaws.Server, secret string, err error) {
	world, err := worldmap.New()
	if err != nil {
		return nil, "", fmt.Errorf("read the map: %w", err)
	}
	tiles := &tilePainter{world: world, files: worldmap.StyleFiles(), born: time.Now()}
	s, err = fakeaws.Start(fakeaws.Options{Lookup: tiles.object})
	if err != nil {
		return nil, "", fmt.Errorf("start the demo's S3: %w", err)
	}
	s.CreateBucket(demoBucket)
	secret = rand.Text()
	err = errors.Join(
		s.AddUser(fakeaws.User{
			AccessKeyID: demoUser, SecretAccessKey: secret,
			Policy: `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole","Resource":"` + demoRole + `"}]}`,
		}),
		s.AddRole(fakeaws.Role{
			ARN: demoRole, TrustedUsers: []string{demoUser},
			Policy: `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:GetObject","s3:ListBucket"],"Resource":["arn:aws:s3:::` + demoBucket + `","arn:aws:s3:::` + demoBucket + `/*"]}]}`,
		}))
	return s, secret, err
}

// tilePainter makes the bucket's objects.
type tilePainter struct {
	world *worldmap.Map
	files map[string]func() ([]byte, error) // of the style
	born  time.Time
	made  sync.Map // key to func() (fakeaws.Object, bool), which draws once
}

func (p *tilePainter) object(bucket, key string) (fakeaws.Object, bool) {
	if bucket == demoBucket && key == demoArchive {
		return p.once(key, func() ([]byte, string, error) {
			body, err := worldmap.Archive()
			return body, "application/vnd.pmtiles", err
		})
	}
	if name, ok := strings.CutPrefix(key, demoStyles); ok && bucket == demoBucket && p.files[name] != nil {
		return p.once(key, func() ([]byte, string, error) {
			body, err := p.files[name]()
			return body, "", err // the bucket does not know; tilegate tells by the name
		})
	}
	var z uint8
	var x, y uint32
	var scale uint8
	if n, err := fmt.Sscanf(key, "world/%d/%d/%d@%dx.png", &z, &x, &y, &scale); n < 3 || err != nil && scale != 0 {
		return fakeaws.Object{}, false
	}
	if scale == 0 {
		scale = 1
	}
	name := fmt.Sprintf("world/%d/%d/%d.png", z, x, y)
	if scale > 1 {
		name = fmt.Sprintf("world/%d/%d/%d@%dx.png", z, x, y, scale)
	}
	if bucket != demoBucket || key != name || z > worldmap.MaxZoom {
		return fakeaws.Object{}, false
	}
	return p.once(key, func() ([]byte, string, error) {
		body, err := p.world.Tile(z, x, y, scale)
		return body, "image/png", err
	})
}

// once returns the object that draw makes for key, the first time that it is asked for.
func (p *tilePainter) once(key string, draw func() (body []byte, contentType string, err error)) (fakeaws.Object, bool) {
	made, _ := p.made.LoadOrStore(key, sync.OnceValues(func() (fakeaws.Object, bool) {
		body, contentType, err := draw()
		return fakeaws.Object{Body: body, ContentType: contentType, LastModified: p.born}, err == nil
	}))
	return made.(func() (fakeaws.Object, bool))() //nolint:forcetypeassert // the map holds nothing else
}

// demoIssuer is a token issuer on a port of its own, as an identity provider is on a host of its own.
type demoIssuer struct {
	issuer *issuer.Issuer
	url    string
	server *http.Server
	ended  chan struct{}
}

func startIssuer(ctx context.Context, page string) (*demoIssuer, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("start the demo's issuer: %w", err)
	}
	d := &demoIssuer{url: "http://" + l.Addr().String(), ended: make(chan struct{})}
	accounts := map[string]map[string]any{}
	for _, a := range demoAccounts {
		a.claims["sub"], a.claims["aud"] = a.name, "tiles"
		accounts[a.name] = a.claims
	}
	if d.issuer, err = issuer.New(issuer.Options{URL: d.url, Accounts: accounts, Origin: page}); err != nil {
		return nil, fmt.Errorf("start the demo's issuer: %w", err)
	}
	d.server = &http.Server{Handler: d.issuer.Handler(), ReadHeaderTimeout: 5 * time.Second, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)}
	go func() {
		defer close(d.ended)
		_ = d.server.Serve(l) // ends with close
	}()
	return d, nil
}

func (d *demoIssuer) close() {
	_ = d.server.Close() // the process ends with it
	<-d.ended
}
