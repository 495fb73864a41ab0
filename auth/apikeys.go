package auth

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"

	"tilegate/internal/tile"
)

// An API key is the text tg_<id>_<secret>. Its file holds one JSON object on each line: a key, by the
// SHA-256 of its text, or the id of one that is revoked:
//
//	{"id":"k3v…","name":"shop","sha256":"9f8…","tilesets":["basemap"],"origins":["https://shop.example.com"],"expires":"2027-11-25T12:00:00Z"}
//	{"revoke":"k3v…"}
//
// The secret has 260 random bits, so that a plain hash of it is as good as a slow one. Both commands that
// change the file append a line to it, so that two of them at once lose nothing.
const (
	keyPrefix    = "tg_"
	apiKeyHeader = "X-Api-Key" //nolint:gosec // G101: it is the name of a header
	keyIDLength  = 12
	maxKeyText   = 128 // bytes of a key that is looked at
	maxKeyFile   = 4 << 20
	maxKeyName   = 64
	maxKeyList   = 64                     // origins, and addresses, of one key
	keyFilePoll  = 500 * time.Millisecond // a revoked key stops within a second
)

// APIKey is a credential for a customer's website or program, which has no token of its own to send.
type APIKey struct {
	ID   string // lower-case letters and digits; the subject of its requests is "key:" and this
	Name string // for people
	Hash [sha256.Size]byte
	Limits
	Origins  []string       // of the pages that may use it, see ValidOrigin; none: it does not matter who sends it
	IPs      []netip.Prefix // of the clients that may use it; none: any
	Created  time.Time
	Expires  time.Time // zero: never
	Disabled bool      // or revoked
}

// keyLine is a line of the file.
type keyLine struct {
	ID       string    `json:"id"`
	Name     string    `json:"name,omitempty"`
	SHA256   string    `json:"sha256"`
	Tilesets []string  `json:"tilesets"`
	Zoom     string    `json:"zoom,omitempty"`
	BBox     []float64 `json:"bbox,omitempty"`
	Area     []string  `json:"area,omitempty"`
	Origins  []string  `json:"origins,omitempty"`
	IPs      []string  `json:"ips,omitempty"`
	Created  string    `json:"created,omitempty"`
	Expires  string    `json:"expires,omitempty"`
	Disabled bool      `json:"disabled,omitempty"`
}

// keyMembers are the members that a line may have. One that is misspelt must not vanish.
var keyMembers = map[string]bool{
	"id": true, "name": true, "sha256": true, "tilesets": true, "zoom": true, "bbox": true, "area": true,
	"origins": true, "ips": true, "created": true, "expires": true, "disabled": true,
}

// NewAPIKey makes a key out of all of k but its ID and Hash. It returns the key's text, which is shown once
// and kept nowhere, and its line for the file, which ends in a line break.
func NewAPIKey(k APIKey) (text string, line []byte, err error) {
	k.ID = strings.ToLower(rand.Text()[:keyIDLength])
	text = keyPrefix + k.ID + "_" + rand.Text() + rand.Text()
	k.Hash = sha256.Sum256([]byte(text))
	l := keyLine{
		ID: k.ID, Name: k.Name, SHA256: hex.EncodeToString(k.Hash[:]), Tilesets: append([]string{}, k.Tilesets...),
		Area: areaNames(k.Areas), Origins: k.Origins, Disabled: k.Disabled,
	}
	if k.Zoom != nil {
		l.Zoom = fmt.Sprintf("%d-%d", k.Zoom.Min, k.Zoom.Max)
	}
	if k.BBox != nil {
		degrees := k.BBox.Degrees()
		l.BBox = degrees[:]
	}
	for _, network := range k.IPs {
		l.IPs = append(l.IPs, network.String())
	}
	if !k.Created.IsZero() {
		l.Created = k.Created.UTC().Format(time.RFC3339)
	}
	if !k.Expires.IsZero() {
		l.Expires = k.Expires.UTC().Format(time.RFC3339)
	}
	if line, err = json.Marshal(l); err != nil {
		return "", nil, err
	}
	if _, err := parseKeyLine(line, k.Areas); err != nil { // what would be refused later must not be handed out
		return "", nil, err
	}
	return text, append(line, '\n'), nil
}

// RevocationLine returns the line for the file that revokes a key.
func RevocationLine(id string) []byte { return []byte(fmt.Sprintf(`{"revoke":%q}`, id) + "\n") }

// ParseAPIKeys reads the content of a file of API keys, strictly: a line that is malformed, or an id that is
// there twice, or an area that is none of areas, is an error, which names the line and quotes nothing of it.
// Empty lines are skipped.
func ParseAPIKeys(data []byte, areas []Area) ([]APIKey, error) {
	if len(data) > maxKeyFile {
		return nil, fmt.Errorf("is larger than %d MiB", maxKeyFile>>20)
	}
	var keys []APIKey
	byID := map[string]int{}
	revoked := map[string]bool{}
	number := 0
	for line := range bytes.Lines(data) {
		number++
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		k, err := parseKeyLine(line, areas)
		if err == nil {
			if first, twice := byID[k.ID]; twice && !k.revokes {
				err = fmt.Errorf("has the id of key %d", first+1)
			}
		}
		switch {
		case err != nil:
			return nil, fmt.Errorf("line %d %w", number, err)
		case k.revokes:
			revoked[k.ID] = true
		default:
			byID[k.ID] = len(keys)
			keys = append(keys, k.APIKey)
		}
	}
	for i := range keys {
		keys[i].Disabled = keys[i].Disabled || revoked[keys[i].ID]
	}
	return keys, nil
}

type parsedKeyLine struct {
	APIKey
	revokes bool // the line revokes the key, and says no more
}

var keyID = regexp.MustCompile(`^[a-z0-9]{1,32}$`)

func parseKeyLine(line []byte, areas []Area) (parsedKeyLine, error) {
	var k parsedKeyLine
	members, err := parseObject(line, maxTokenValues)
	if err != nil {
		return k, errors.New("is not one strict JSON object")
	}
	if id, revokes := members["revoke"]; revokes {
		k.ID, _ = id.(string)
		if k.revokes = keyID.MatchString(k.ID); !k.revokes || len(members) != 1 {
			return k, errors.New("is no revocation: it must be the id of a key, and nothing else")
		}
		return k, nil
	}
	for name := range members {
		if !keyMembers[name] {
			return k, fmt.Errorf("has a member that is not known: %s", printable(name))
		}
	}
	var l keyLine
	if err := json.Unmarshal(line, &l); err != nil {
		return k, errors.New("has a member of the wrong type")
	}
	for name, value := range members {
		if value == nil {
			return k, fmt.Errorf("has a %s that is null", name)
		}
	}
	k.ID, k.Name, k.Tilesets, k.Origins, k.Disabled = l.ID, l.Name, l.Tilesets, l.Origins, l.Disabled
	sum, err := hex.DecodeString(l.SHA256)
	switch {
	case !keyID.MatchString(l.ID):
		return k, errors.New("has no id of lower-case letters and digits")
	case len(l.Name) > maxKeyName || strings.ContainsFunc(l.Name, unicode.IsControl):
		return k, fmt.Errorf("has a name of more than %d bytes or with control characters", maxKeyName)
	case err != nil || len(sum) != sha256.Size:
		return k, errors.New("has no sha256 of 64 hexadecimal digits")
	case len(l.Tilesets) == 0:
		return k, errors.New("grants no tilesets")
	case len(l.Origins) > maxKeyList || len(l.IPs) > maxKeyList:
		return k, fmt.Errorf("has more than %d origins or ips", maxKeyList)
	}
	k.Hash = [sha256.Size]byte(sum)
	for name, list := range map[string]int{"origins": len(l.Origins), "ips": len(l.IPs)} {
		if _, written := members[name]; written && list == 0 {
			return k, fmt.Errorf("has %s that name none: leave the member out", name)
		}
	}
	return k, k.parseLimits(members, &l, areas)
}

// parseLimits reads what needs more than its type.
func (k *parsedKeyLine) parseLimits(members map[string]any, l *keyLine, areas []Area) error {
	for i, origin := range l.Origins {
		if !ValidOrigin(origin) {
			return fmt.Errorf("has an origin, the %s, that is none: it is https://shop.example.com or https://*.example.com, in lower case and without a path", ordinal(i))
		}
	}
	for _, text := range l.IPs {
		network, err := ParseNetwork(text)
		if err != nil {
			return errors.New("has ips that are not networks such as 192.0.2.0/24, or addresses")
		}
		k.IPs = append(k.IPs, network)
	}
	if _, written := members["zoom"]; written {
		zoom, err := tile.ParseZoomRange(l.Zoom)
		if err != nil {
			return errors.New("has a zoom that is no range such as 0-14")
		}
		k.Zoom = &zoom
	}
	if _, written := members["bbox"]; written {
		box, err := tile.ParseBox(l.BBox)
		if err != nil {
			return errors.New("has a bbox that is not [west, south, east, north] with an area")
		}
		k.BBox = &box
	}
	if _, written := members["area"]; written {
		var known bool
		if k.Areas, known = namedAreas(areas, l.Area); !known || len(l.Area) == 0 {
			return errors.New("has an area that names none of those that are configured")
		}
	}
	for name, at := range map[string]struct {
		text string
		into *time.Time
	}{"created": {l.Created, &k.Created}, "expires": {l.Expires, &k.Expires}} {
		if _, written := members[name]; !written {
			continue
		}
		var err error
		if *at.into, err = time.Parse(time.RFC3339, at.text); err != nil {
			return fmt.Errorf("has a date, %s, that is not like 2027-11-25T12:00:00Z", name)
		}
	}
	return k.Validate()
}

// ParseNetwork reads 192.0.2.0/24, or an address.
func ParseNetwork(text string) (netip.Prefix, error) {
	if address, err := netip.ParseAddr(text); err == nil && address.Zone() == "" {
		address = address.Unmap()
		return netip.PrefixFrom(address, address.BitLen()), nil
	}
	network, err := netip.ParsePrefix(text)
	if err == nil && network != network.Masked() {
		err = errors.New("the address has bits beyond the network's")
	}
	return network, err
}

func ordinal(i int) string { return fmt.Sprintf("%d.", i+1) }

// grantedKey is a key with what it grants.
type grantedKey struct {
	APIKey
	grant *Grant
}

// keyFile is the file of the API keys, of which the last good content is kept.
type keyFile struct {
	path   string
	areas  []Area // that are known
	logger *slog.Logger
	now    func() time.Time

	keys atomic.Pointer[map[string]grantedKey] // by id

	// What the last look has found. Only New and run use it.
	seen fs.FileInfo // nil: there was no file
	read time.Time
	sum  [sha256.Size]byte // of the content that the keys are of

	mu      sync.Mutex
	failure string    // of the last look, fit for anybody to read; "" if it succeeded
	since   time.Time // of the failure
}

// run looks at the file until ctx ends.
func (f *keyFile) run(ctx context.Context) {
	ticker := time.NewTicker(keyFilePoll)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			f.refresh()
		}
	}
}

// refresh reads the file if it has changed. A file that cannot be read, or is malformed, changes nothing: the
// last good keys stay.
func (f *keyFile) refresh() {
	info, err := os.Stat(f.path)
	if errors.Is(err, fs.ErrNotExist) && f.seen == nil {
		return // there has never been one
	}
	failed := f.failed()
	if err == nil && !failed && f.unchanged(info) {
		return
	}
	before := f.sum
	err = f.load()
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case err == nil:
		f.failure = ""
		if failed || f.sum != before {
			f.logger.Info("API keys read", "keys", len(*f.keys.Load()))
		}
	case failed:
		f.failure = err.Error()
	default:
		f.failure, f.since = err.Error(), f.now()
		f.logger.Warn("the file of the API keys cannot be used; the last good keys stay", "error", err)
	}
}

// unchanged reports whether the file is as it was when it was read. One that was changed shortly before that
// may have been changed again without another size or time.
func (f *keyFile) unchanged(info fs.FileInfo) bool {
	return f.seen != nil && os.SameFile(info, f.seen) && info.Size() == f.seen.Size() && info.ModTime().Equal(f.seen.ModTime()) &&
		f.read.Sub(info.ModTime()) > 2*time.Second
}

func (f *keyFile) failed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.failure != ""
}

// load reads the file. One that does not exist, and never did, holds no keys.
func (f *keyFile) load() error {
	data, info, err := readKeyFile(f.path)
	if errors.Is(err, fs.ErrNotExist) && f.seen == nil {
		f.keys.Store(&map[string]grantedKey{})
		return nil
	}
	if err != nil {
		return err
	}
	f.seen, f.read = info, time.Now()
	list, err := ParseAPIKeys(data, f.areas)
	if err != nil {
		return err
	}
	f.sum = sha256.Sum256(data)
	keys := make(map[string]grantedKey, len(list))
	for _, k := range list {
		g := grantOf([]part{partOf(k.Limits)})
		g.Kind, g.Subject, g.ID, g.Expires = Key, "key:"+k.ID, "key:"+k.ID, k.Expires
		g.bind(nil)
		keys[k.ID] = grantedKey{k, g}
	}
	f.keys.Store(&keys)
	return nil
}

// ReadAPIKeys reads a file of API keys. One that does not exist holds none.
func ReadAPIKeys(path string, areas []Area) ([]APIKey, error) {
	data, _, err := readKeyFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return ParseAPIKeys(data, areas)
}

// readKeyFile reads a regular file of at most maxKeyFile bytes. The path does not stand in errors.
func readKeyFile(path string) ([]byte, fs.FileInfo, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, nil, withoutPath(err)
	}
	if !info.Mode().IsRegular() {
		return nil, nil, errors.New("is not a regular file")
	}
	file, err := os.Open(path) //nolint:gosec // the operator names the file
	if err != nil {
		return nil, nil, withoutPath(err)
	}
	defer file.Close()
	if info, err = file.Stat(); err != nil { // before it is read: a change while it is read is seen at the next look
		return nil, nil, withoutPath(err)
	}
	data, err := io.ReadAll(io.LimitReader(file, maxKeyFile+1))
	if err != nil {
		return nil, nil, withoutPath(err)
	}
	return data, info, nil
}

func withoutPath(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}

// degraded returns what is wrong with the file in one line, "" if nothing is.
func (f *keyFile) degraded() string {
	if f == nil {
		return ""
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.failure == "" {
		return ""
	}
	return fmt.Sprintf("API keys: the file could not be used for %v: %s", f.now().Sub(f.since).Truncate(time.Second), f.failure)
}

// authenticateKey returns what an API key grants, if it may be used from where the request comes.
func (a *Authenticator) authenticateKey(r *http.Request, text string) (*Grant, error) {
	id, _, ok := strings.Cut(strings.TrimPrefix(text, keyPrefix), "_")
	if !ok || !strings.HasPrefix(text, keyPrefix) || len(text) > maxKeyText {
		return nil, malformed("not an API key")
	}
	k, known := (*a.apiKeys.keys.Load())[id]
	sum := sha256.Sum256([]byte(text))
	if subtle.ConstantTimeCompare(sum[:], k.Hash[:]) != 1 || !known {
		return nil, &InvalidError{Description: "there is no such API key", Reason: "no such API key"}
	}
	switch {
	case k.Disabled:
		return nil, errRevokedKey
	case !k.Expires.IsZero() && !a.now().Before(k.Expires):
		return nil, refused("the API key expired " + a.now().Sub(k.Expires).Truncate(time.Second).String() + " ago")
	case a.revoked.has(k.grant):
		return nil, errRevokedKey
	}
	if len(k.Origins) > 0 {
		if origin, ok := pageOrigin(r.Header); !ok || !originMatches(k.Origins, origin) {
			return nil, fmt.Errorf("%w: API key %s is for %s", ErrWrongOrigin, id, shown(k.Origins, ", "))
		}
	}
	if len(k.IPs) > 0 && !k.admitsAddress(a.clientAddress(r)) {
		return nil, fmt.Errorf("%w: API key %s is for %s", ErrWrongAddress, id, shown(texts(k.IPs), ", "))
	}
	return k.grant, nil
}

var errRevokedKey = &InvalidError{Description: "the API key has been revoked"}

func texts(networks []netip.Prefix) []string {
	all := make([]string, len(networks))
	for i, n := range networks {
		all[i] = n.String()
	}
	return all
}

func (k *APIKey) admitsAddress(address netip.Addr) bool {
	for _, network := range k.IPs {
		if network.Contains(address) {
			return true
		}
	}
	return false
}
