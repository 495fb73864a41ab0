package proxy

import (
	"net/http"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

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

// cacheCollector reads the cache's own counts when it is asked.
type cacheCollector struct{ cache *tilecache.Cache }

var (
	cacheBytes     = prometheus.NewDesc("tilegate_cache_bytes", "Bytes held: entries, fills under way, bytes still being read.", nil, nil)
	cacheEntries   = prometheus.NewDesc("tilegate_cache_entries", "Tiles held.", nil, nil)
	cacheEvictions = prometheus.NewDesc("tilegate_cache_evictions_total", "Tiles dropped to make room.", nil, nil)
	cacheFills     = prometheus.NewDesc("tilegate_fills_in_flight", "Fetches from the origin under way.", nil, nil)
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
	out <- prometheus.MustNewConstMetric(cacheEvictions, prometheus.CounterValue, float64(s.Evictions))
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
