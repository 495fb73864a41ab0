package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"tilegate/internal/fakeaws"
	"tilegate/internal/pmtiles"
)

const (
	archiveKey  = "archive.pmtiles"
	archiveZoom = 8    // the deepest zoom of the archive that serve-s3 has
	leafEntries = 4096 // of a leaf directory
)

// archiveOf writes an archive of the first tiles in the order of their ids, which take turns at some contents: no two
// neighbours are alike, so that each is an entry, and few bytes are held.
func archiveOf(tiles uint64, size int) ([]byte, error) {
	contents := make([][]byte, 64)
	for i := range contents {
		contents[i] = tileBody(size)
		copy(contents[i][8:], fmt.Sprintf("%08d", i))
	}
	var b bytes.Buffer
	err := pmtiles.Write(&b, pmtiles.WriteOptions{TileType: pmtiles.PNG, TileCompression: pmtiles.None, LeafEntries: leafEntries},
		func(yield func(uint64, []byte) bool) {
			for id := range tiles {
				if !yield(id, contents[id%uint64(len(contents))]) {
					return
				}
			}
		})
	return b.Bytes(), err
}

// upTo is the number of tiles of all zooms to that one.
func upTo(zoom uint8) uint64 {
	n, _ := pmtiles.TileID(zoom+1, 0, 0)
	return n
}

// startWithArchive serves a pyramid and an archive from an S3 endpoint.
func (l *lab) startWithArchive(ctx context.Context, endpoint string, memoryMiB int, fresh string) (*server, error) {
	address, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(l.dir, "archive.yaml")
	text := fmt.Sprintf(`server: {listen: %q, admin_listen: ""}
aws: {region: us-east-1, endpoint: %q, path_style: true}
cache: {memory: %dMiB, fresh: %s}
auth:
  issuers:
    - {issuer: "https://id.example.com/", audience: [tiles], algorithms: [RS256], key: {file: public.pem}}
tilesets:
  basemap: {source: "s3://tiles/basemap/{z}/{x}/{y}.png"}
  archive: {source: "s3://tiles/%s"}
`, address, endpoint, memoryMiB, fresh, archiveKey)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return nil, err
	}
	env := []string{"AWS_ACCESS_KEY_ID=" + benchKey, "AWS_SECRET_ACCESS_KEY=" + benchSecret}
	return l.start(ctx, serverCore, address, env, l.tilegate, "serve", "-c", path)
}

// startReference serves the same archive with go-pmtiles serve. nil where it is not installed.
func (l *lab) startReference(ctx context.Context, endpoint string) (*server, error) {
	binary := ""
	for _, name := range []string{filepath.Join(".cache", "bin", "go-pmtiles"), "go-pmtiles", "pmtiles"} {
		if found, err := exec.LookPath(name); err == nil || errors.Is(err, exec.ErrDot) {
			binary = found
			break
		}
	}
	if binary == "" {
		return nil, nil //nolint:nilnil // there is none
	}
	address, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	host, port, _ := strings.Cut(address, ":")
	env := []string{"AWS_ACCESS_KEY_ID=" + benchKey, "AWS_SECRET_ACCESS_KEY=" + benchSecret, "AWS_REGION=us-east-1"}
	return l.start(ctx, serverCore, address, env, binary, "serve", ".", "--interface="+host, "--port="+port, "--quiet",
		"--bucket=s3://tiles?endpoint="+endpoint+"&region=us-east-1&use_path_style=true&disable_https=true")
}

const noReference = "not measured: go-pmtiles is missing: make tools"

// benchArchive compares an archive with go-pmtiles serve, and counts what it asks S3 for.
func benchArchive(ctx context.Context, l *lab) error {
	s3, err := l.startSelf(ctx, loadCore, "serve-s3", strconv.Itoa(tileSize), strconv.Itoa(archiveZoom))
	if err != nil {
		return err
	}
	defer s3.stop()
	if err := l.archiveMisses(ctx, s3); err != nil {
		return err
	}
	l.note("  of Martin", "not measured: it is written in Rust, and make tools builds programs in Go")
	for _, row := range []func(context.Context) error{l.archiveHerd, l.archivePan, l.archiveReplaced} {
		if err := row(ctx); err != nil {
			return err
		}
	}
	return nil
}

// benchArchiveHit compares a cached tile of an archive with one of a pyramid, of the same size.
func benchArchiveHit(ctx context.Context, l *lab) error {
	s3, err := l.startSelf(ctx, loadCore, "serve-s3", strconv.Itoa(tileSize), strconv.Itoa(archiveZoom))
	if err != nil {
		return err
	}
	defer s3.stop()
	tilegate, err := l.startWithArchive(ctx, s3.url, 256, "1h")
	if err != nil {
		return err
	}
	defer tilegate.stop()
	rates := map[string][]float64{}
	order := []string{"archive", "basemap"}
	for range l.rounds {
		slices.Reverse(order) // what is measured second differs a little
		for _, tileset := range order {
			rate, _, err := l.wrk(ctx, tilegate, "/tiles/"+tileset+"/7/66/44.png", l.token, 64, "")
			if err != nil {
				return err
			}
			rates[tileset] = append(rates[tileset], rate)
		}
	}
	ours, pyramid := median(rates["archive"]), median(rates["basemap"])
	l.record("a cached tile of an archive, of a pyramid's", fmt.Sprintf("%.2f (%.0f and %.0f in a second of its core)", ours/pyramid, ours, pyramid), "≥ 0.98", ours/pyramid >= 0.98)
	return nil
}

// archiveMisses compares distinct tiles whose directories are held.
func (l *lab) archiveMisses(ctx context.Context, s3 *server) error {
	const what = "cold tiles of an archive, directories held, 32 at once"
	reference, err := l.startReference(ctx, s3.url)
	if err != nil {
		return err
	}
	if reference == nil {
		l.note(what+", of go-pmtiles serve", noReference)
		return nil
	}
	defer reference.stop()
	tilegate, err := l.startWithArchive(ctx, s3.url, 64, "1h") // a round has more tiles than that holds
	if err != nil {
		return err
	}
	defer tilegate.stop()
	targets := []struct {
		server *server
		path   string
		rates  []float64
	}{{tilegate, "/tiles/archive", nil}, {reference, "/archive", nil}}
	for _, t := range targets {
		for id := uint64(0); id < upTo(archiveZoom); id += leafEntries {
			if err := l.drain(ctx, http.DefaultClient, t.server.url+tilePath(t.path, id)); err != nil {
				return err
			}
		}
	}
	for round := range l.rounds {
		for i := range targets {
			t := &targets[i]
			rate, _, err := l.wrk(ctx, t.server, "", l.token, 32, walkArchive(t.path, round*(1<<16)/l.rounds))
			if err != nil {
				return err
			}
			t.rates = append(t.rates, rate)
		}
	}
	ours, theirs := median(targets[0].rates), median(targets[1].rates)
	l.record(what+", of go-pmtiles serve", fmt.Sprintf("%.2f (%.0f and %.0f in a second of a core)", ours/theirs, ours, theirs), "≥ 2", ours/theirs >= 2)
	return nil
}

// walkArchive is a load that asks for the tiles of the deepest zoom in turn.
func walkArchive(path string, from int) string {
	return fmt.Sprintf(`local n = %d
request = function()
  n = n + 1
  return wrk.format("GET", "%s/%d/" .. n %% 256 .. "/" .. math.floor(n / 256) %% 256 .. ".png")
end
`, from, path, archiveZoom)
}

func tilePath(prefix string, id uint64) string {
	z, x, y, _ := pmtiles.ZXY(id)
	return fmt.Sprintf("%s/%d/%d/%d.png", prefix, z, x, y)
}

// drain gets a URL to its end.
func (l *lab) drain(ctx context.Context, client *http.Client, url string) error {
	answer, err := l.fetch(ctx, client, url)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, answer.Body)
	return errors.Join(err, answer.Body.Close())
}

// archiveLab is an archive in an S3 within this process, which counts what it is asked for, and tilegate in front of it.
type archiveLab struct {
	s3       *fakeaws.Server
	tilegate *server
}

func (l *lab) startArchiveLab(ctx context.Context, archive []byte, memoryMiB int, fresh string) (a archiveLab, err error) {
	if a.s3, err = fakeaws.Start(fakeaws.Options{}); err != nil {
		return a, err
	}
	a.put(archive)
	a.s3.Put("tiles", "basemap/0/0/0.png", fakeaws.Object{Body: tileBody(1000)})
	if err = addBenchUser(a.s3); err == nil {
		a.tilegate, err = l.startWithArchive(ctx, a.s3.URL(), memoryMiB, fresh)
	}
	if err != nil {
		return a, errors.Join(err, a.s3.Close())
	}
	return a, nil
}

func (a archiveLab) stop() {
	a.tilegate.stop()
	_ = a.s3.Close()
}

func (a archiveLab) put(archive []byte) {
	a.s3.Put("tiles", archiveKey, fakeaws.Object{Body: archive, Checksum: "none"})
}

// gets are the GETs of the archive since ResetRequests.
func (a archiveLab) gets() int { return a.s3.Count("GetObject", "tiles", archiveKey) }

// archiveHerd sends a thousand clients for one tile whose directories are held.
func (l *lab) archiveHerd(ctx context.Context) error {
	const clients = 1000
	archive, err := archiveOf(upTo(6), tileSize)
	if err != nil {
		return err
	}
	lab, err := l.startArchiveLab(ctx, archive, 256, "1h")
	if err != nil {
		return err
	}
	defer lab.stop()
	count := func(s *server, prefix string) (int, error) {
		if err := l.drain(ctx, http.DefaultClient, s.url+tilePath(prefix, 1)); err != nil {
			return 0, err
		}
		lab.s3.ResetRequests()
		_, err := l.slowest(ctx, s.url+tilePath(prefix, 2), clients)
		return lab.gets(), err
	}
	ours, err := count(lab.tilegate, "/tiles/archive")
	if err != nil {
		return err
	}
	what := fmt.Sprintf("%d clients, one cold tile of an archive: GETs", clients)
	l.record(what, strconv.Itoa(ours), "1", ours == 1)
	reference, err := l.startReference(ctx, lab.s3.URL())
	if err != nil {
		return err
	}
	if reference == nil {
		l.note("  of go-pmtiles serve", noReference)
		return nil
	}
	defer reference.stop()
	theirs, err := count(reference, "/archive")
	if err != nil {
		return err
	}
	l.note("  of go-pmtiles serve", strconv.Itoa(theirs))
	return nil
}

// archivePan counts what a pan over a large archive asks S3 for.
func (l *lab) archivePan(ctx context.Context) error {
	const tiles, zoom, side, left, top = 10_000_000, 11, 100, 700, 900
	archive, err := archiveOf(tiles, 100)
	if err != nil {
		return err
	}
	lab, err := l.startArchiveLab(ctx, archive, 256, "1h")
	if err != nil {
		return err
	}
	defer lab.stop()
	if err := l.drain(ctx, http.DefaultClient, lab.tilegate.url+"/tiles/archive.json"); err != nil { // header and root
		return err
	}
	lab.s3.ResetRequests()
	leaves := map[uint64]bool{}
	var paths []string
	for y := range uint32(side) {
		for x := range uint32(side) {
			id, _ := pmtiles.TileID(zoom, left+x, top+y)
			leaves[id/leafEntries] = true
			paths = append(paths, tilePath("/tiles/archive", id))
		}
	}
	if err := l.drainAll(ctx, lab.tilegate, paths); err != nil {
		return err
	}
	n, most := lab.gets(), len(paths)+len(leaves)
	l.record(fmt.Sprintf("GETs for a pan over %d tiles of an archive of %d, in %d of its leaves", len(paths), tiles, len(leaves)), strconv.Itoa(n), fmt.Sprintf("≤ %d", most), n <= most)
	return nil
}

// drainAll gets paths of a server, 16 at a time.
func (l *lab) drainAll(ctx context.Context, s *server, paths []string) error {
	const workers = 16
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: workers}}
	defer client.CloseIdleConnections()
	var next atomic.Int64
	var done sync.WaitGroup
	failed := make(chan error, workers)
	for range workers {
		done.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(paths)); i = next.Add(1) - 1 {
				if err := l.drain(ctx, client, s.url+paths[i]); err != nil {
					failed <- err
					return
				}
			}
		})
	}
	done.Wait()
	close(failed)
	return <-failed
}

// archiveReplaced replaces an archive again and again while clients read it.
func (l *lab) archiveReplaced(ctx context.Context) error {
	const replacements, zoom, size, clients = 100, 5, 4000, 16
	version := func(n int) ([]byte, error) {
		var b bytes.Buffer
		err := pmtiles.Write(&b, pmtiles.WriteOptions{TileType: pmtiles.PNG, TileCompression: pmtiles.None, LeafEntries: 256, Metadata: fmt.Appendf(nil, `{"version":"%d"}`, n)},
			func(yield func(uint64, []byte) bool) {
				for id := range upTo(zoom) {
					if !yield(id, versionedTile(n, id, size)) {
						return
					}
				}
			})
		return b.Bytes(), err
	}
	archive, err := version(0)
	if err != nil {
		return err
	}
	lab, err := l.startArchiveLab(ctx, archive, 64, "1s")
	if err != nil {
		return err
	}
	defer lab.stop()
	var answers, failures, mixtures atomic.Int64
	var first atomic.Pointer[string] // what went wrong
	wrong := func(counter *atomic.Int64, format string, args ...any) {
		counter.Add(1)
		text := fmt.Sprintf(format, args...)
		first.CompareAndSwap(nil, &text)
	}
	loading, stop := context.WithCancel(ctx)
	defer stop()
	var done sync.WaitGroup
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}}
	defer client.CloseIdleConnections()
	for worker := range uint64(clients) {
		done.Go(func() {
			for i := worker; loading.Err() == nil; i += clients + 1 {
				id := i % upTo(zoom)
				answer, err := l.fetch(ctx, client, lab.tilegate.url+tilePath("/tiles/archive", id))
				if err != nil {
					wrong(&failures, "%v", err)
					continue
				}
				body, err := io.ReadAll(answer.Body)
				if err = errors.Join(err, answer.Body.Close()); err != nil {
					wrong(&failures, "tile %d: %v", id, err)
				} else if n, err := strconv.Atoi(string(body[8:min(len(body), 16)])); err != nil || !bytes.Equal(body, versionedTile(n, id, size)) {
					wrong(&mixtures, "tile %d is of no one version", id)
				}
				answers.Add(1)
			}
		})
	}
	begun := time.Now()
	for n := 1; n <= replacements && err == nil; n++ {
		// Each version is read before the next one comes.
		for seen := answers.Load(); answers.Load() < seen+200 && failures.Load() == 0 && ctx.Err() == nil; {
			time.Sleep(time.Millisecond)
		}
		if archive, err = version(n); err == nil {
			lab.put(archive)
		}
	}
	stop()
	done.Wait()
	if err := cmp.Or(err, ctx.Err()); err != nil {
		return err
	}
	l.record(fmt.Sprintf("an archive replaced %d times in %.0f s under load: errors and mixtures", replacements, time.Since(begun).Seconds()),
		fmt.Sprintf("%d and %d of %d answers", failures.Load(), mixtures.Load(), answers.Load()), "0 and 0", failures.Load() == 0 && mixtures.Load() == 0)
	if text := first.Load(); text != nil {
		l.note("  the first", *text)
	}
	return nil
}

// versionedTile tells in each of its parts which version it is of.
func versionedTile(version int, id uint64, size int) []byte {
	part := fmt.Appendf(nil, "%08d%08d", version, id)
	return append([]byte("\x89PNG\r\n\x1a\n"), bytes.Repeat(part, size/len(part))...)
}
