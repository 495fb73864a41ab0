package proxy

import (
	"net/http"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"tilegate/proxy/wire"
	"tilegate/tilecache"
)

// Metrics counts requests. Its labels come from bounded sets: the configured tilesets, the statuses that
// the proxy sends, the cache's outcomes.
type Metrics struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	bytes    *prometheus.CounterVec
	other    tilesetMetrics
}

// NewMetrics makes the collectors; register them with Register.
func NewMetrics() *Metrics {
	m := &Metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tilegate_requests_total",
			Help: "Requests by tileset (empty for other routes), status and cache outcome.",
		}, []string{"tileset", "status", "outcome"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "tilegate_request_duration_seconds",
			Help:    "From the request's header to the last byte of its answer.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}, []string{"tileset"}),
		bytes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tilegate_response_bytes_total",
			Help: "Bytes of answers' bodies.",
		}, []string{"tileset"}),
	}
	m.other = m.tileset("")
	return m
}

// Register adds the metrics, and those of the cache and of the listener's clients, to a registry. clients
// may be nil.
func (m *Metrics) Register(r prometheus.Registerer, cache *tilecache.Cache, clients *wire.Clients) {
	r.MustRegister(m.requests, m.duration, m.bytes, &cacheCollector{cache})
	if clients != nil {
		r.MustRegister(&clientsCollector{clients})
	}
}

// tilesetMetrics are one tileset's collectors, looked up once: finding a counter by its labels costs
// more than counting.
type tilesetMetrics struct {
	id       string
	usual    *[len(usualStatuses)][outcomes]atomic.Pointer[prometheus.Counter]
	duration prometheus.Observer
	bytes    prometheus.Counter
}

// usualStatuses are those whose counters are looked up once.
var usualStatuses = [...]int{http.StatusOK, http.StatusNotModified, http.StatusPartialContent}

func (m *Metrics) tileset(id string) tilesetMetrics {
	return tilesetMetrics{
		id:       id,
		usual:    new([len(usualStatuses)][outcomes]atomic.Pointer[prometheus.Counter]),
		duration: m.duration.WithLabelValues(id),
		bytes:    m.bytes.WithLabelValues(id),
	}
}

func (m *Metrics) observe(x *exchange, took time.Duration) {
	of := &m.other
	if x.tileset != nil {
		of = &x.tileset.metrics
	}
	of.duration.Observe(took.Seconds())
	of.bytes.Add(float64(x.Bytes()))
	status := x.loggedStatus()
	usual := slices.Index(usualStatuses[:], status)
	if usual < 0 {
		m.requests.WithLabelValues(of.id, strconv.Itoa(status), x.outcome.String()).Inc()
		return
	}
	slot := &of.usual[usual][x.outcome]
	counter := slot.Load()
	if counter == nil {
		c := m.requests.WithLabelValues(of.id, strconv.Itoa(status), x.outcome.String())
		counter = &c
		slot.Store(counter)
	}
	(*counter).Inc()
}

// outcomes counts a tileset's requests by what became of them at the cache, over all statuses.
func (m *Metrics) outcomes() map[string]*[outcomes]float64 {
	all := make(chan prometheus.Metric)
	go func() {
		m.requests.Collect(all)
		close(all)
	}()
	by := map[string]*[outcomes]float64{}
	for metric := range all {
		var d dto.Metric
		if metric.Write(&d) != nil {
			continue // a counter always can
		}
		labels := map[string]string{}
		for _, l := range d.GetLabel() {
			labels[l.GetName()] = l.GetValue()
		}
		of := by[labels["tileset"]]
		if of == nil {
			of = new([outcomes]float64)
			by[labels["tileset"]] = of
		}
		if o := slices.Index(outcomeNames[:], labels["outcome"]); o >= 0 {
			of[o] += d.GetCounter().GetValue()
		}
	}
	return by
}

// cacheCollector reads the cache's own counts when it is asked.
type cacheCollector struct{ cache *tilecache.Cache }

var (
	cacheBytes     = prometheus.NewDesc("tilegate_cache_bytes", "Bytes held: entries, fills under way, bytes still being read.", nil, nil)
	cacheEntries   = prometheus.NewDesc("tilegate_cache_entries", "Tiles held.", nil, nil)
	cacheEvictions = prometheus.NewDesc("tilegate_cache_evictions_total", "Tiles dropped to make room.", nil, nil)
	cacheFills     = prometheus.NewDesc("tilegate_fills_in_flight", "Fetches from the origin under way.", nil, nil)
	cacheLimit     = prometheus.NewDesc("tilegate_cache_limit_bytes", "The most bytes that the cache may hold.", nil, nil)
	cacheRetired   = prometheus.NewDesc("tilegate_cache_retired_bytes", "Bytes that left the cache but are still read.", nil, nil)
	cacheQueued    = prometheus.NewDesc("tilegate_fills_queued", "Fetches that wait for room in the cache.", nil, nil)
	cacheOverloads = prometheus.NewDesc("tilegate_cache_overloads_total", "Fetches refused because there was no room in the cache.", nil, nil)
	cacheCut       = prometheus.NewDesc("tilegate_cache_readers_cut_total", "Slow readers that were disconnected because there was no room in the cache.", nil, nil)
	cacheResumed   = prometheus.NewDesc("tilegate_fills_resumed_total", "Bodies that broke off and were asked for from there.", nil, nil)
	cacheFailed    = prometheus.NewDesc("tilegate_fills_failed_total", "Fetches that failed, absences and abandoned ones not counted.", nil, nil)
	cachePanics    = prometheus.NewDesc("tilegate_fills_panicked_total", "Fetches that ended in a fault of tilegate's own.", nil, nil)
	cacheRefresh   = prometheus.NewDesc("tilegate_refreshes_failed_total", "Refreshes that left a tile stale.", nil, nil)
	cacheStreams   = prometheus.NewDesc("tilegate_streams_total", "Objects passed through because they could not be kept.", nil, nil)
)

func (c *cacheCollector) Describe(d chan<- *prometheus.Desc) {
	prometheus.DescribeByCollect(c, d)
}

func (c *cacheCollector) Collect(out chan<- prometheus.Metric) {
	s := c.cache.Stats()
	gauge := func(d *prometheus.Desc, v float64) { out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v) }
	gauge(cacheBytes, float64(s.Bytes))
	gauge(cacheEntries, float64(s.Entries))
	gauge(cacheFills, float64(s.Fills))
	gauge(cacheLimit, float64(s.Limit))
	gauge(cacheRetired, float64(s.Retired))
	gauge(cacheQueued, float64(s.Queued))
	for d, n := range map[*prometheus.Desc]uint64{
		cacheEvictions: s.Evictions, cacheOverloads: s.Overloads, cacheCut: s.CutReaders, cacheResumed: s.Resumed,
		cacheFailed: s.Failed, cachePanics: s.Panics, cacheRefresh: s.RefreshFailed, cacheStreams: s.Streams,
	} {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n))
	}
}

// clientsCollector reads what the listener's clients hold when it is asked.
type clientsCollector struct{ clients *wire.Clients }

var (
	clientConnections = prometheus.NewDesc("tilegate_connections", "Connections of clients.", nil, nil)
	clientRequests    = prometheus.NewDesc("tilegate_requests_in_flight", "Requests under way: not answered, or the answer not yet taken.", nil, nil)
	clientsRefused    = prometheus.NewDesc("tilegate_refused_total", "Requests and connections refused because of a limit under server.limits.", []string{"limit"}, nil)
)

func (c *clientsCollector) Describe(d chan<- *prometheus.Desc) {
	prometheus.DescribeByCollect(c, d)
}

func (c *clientsCollector) Collect(out chan<- prometheus.Metric) {
	connections, requests := c.clients.Counts()
	out <- prometheus.MustNewConstMetric(clientConnections, prometheus.GaugeValue, float64(connections))
	out <- prometheus.MustNewConstMetric(clientRequests, prometheus.GaugeValue, float64(requests))
	for limit, n := range c.clients.Refused() {
		out <- prometheus.MustNewConstMetric(clientsRefused, prometheus.CounterValue, float64(n), limit)
	}
}
