package main

import (
	"math"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tilegate/proxy/origin"
)

// originMetrics count what happens between tilegate and S3, STS and the issuers. Labels are
// configured names and the bounded sets of outcomes that origin.Observer states.
type originMetrics struct {
	requests    *prometheus.CounterVec
	bodies      *prometheus.CounterVec
	duration    *prometheus.HistogramVec
	retries     *prometheus.CounterVec
	credentials *prometheus.CounterVec
	keySets     *prometheus.CounterVec
}

func newOriginMetrics(r prometheus.Registerer) *originMetrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	m := &originMetrics{
		requests: counter("tilegate_origin_requests_total", "Requests to S3 by tileset or file, and outcome.", "tileset", "class"),
		bodies:   counter("tilegate_origin_bodies_failed_total", "S3 bodies that broke off or cannot be served, by tileset and cause.", "tileset", "class"),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "tilegate_origin_request_duration_seconds",
			Help:    "Until S3's headers are there.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}, []string{"tileset"}),
		retries:     counter("tilegate_origin_retries_total", "Requests to S3 that were sent again.", "tileset"),
		credentials: counter("tilegate_credentials_refresh_total", "Calls for credentials, by role and result.", "role", "result"),
		keySets:     counter("tilegate_jwks_refresh_total", "Fetches of key sets, by issuer and result.", "issuer", "result"),
	}
	r.MustRegister(m.requests, m.bodies, m.duration, m.retries, m.credentials, m.keySets)
	return m
}

func registerLogMetrics(r prometheus.Registerer, log *serviceLog) {
	r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "tilegate_log_lines_dropped_total",
		Help: "Log lines that could not be written to standard error.",
	}, func() float64 { return float64(log.dropped()) }))
}

// registerBuildInfo adds what is running, as labels of a metric that is always 1.
func registerBuildInfo(r prometheus.Registerer) {
	v, revision := build()
	r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name:        "tilegate_build_info",
		Help:        "Always 1; the labels say what is running.",
		ConstLabels: prometheus.Labels{"version": v, "commit": revision, "go": runtime.Version()},
	}, func() float64 { return 1 }))
}

func result(ok bool) string {
	if ok {
		return "ok"
	}
	return "failed"
}

func (m *originMetrics) keySetRefreshed(issuer string, ok bool) {
	m.keySets.WithLabelValues(issuer, result(ok)).Inc()
}

func (m *originMetrics) observer() origin.Observer {
	return origin.Observer{
		Request: func(source, outcome string, took time.Duration) {
			m.requests.WithLabelValues(source, outcome).Inc()
			m.duration.WithLabelValues(source).Observe(took.Seconds())
		},
		Body:    func(source, outcome string) { m.bodies.WithLabelValues(source, outcome).Inc() },
		Retry:   func(source string) { m.retries.WithLabelValues(source).Inc() },
		Refresh: func(credentials string, ok bool) { m.credentials.WithLabelValues(credentials, result(ok)).Inc() },
	}
}

// expiryCollector tells, when it is asked, how long each role's credentials still hold.
type expiryCollector struct{ origins func() *origin.AWS }

var credentialsExpiry = prometheus.NewDesc("tilegate_credentials_expiry_seconds",
	"How long the credentials of a role still hold; 0 when there are none, +Inf when they do not expire.", []string{"role"}, nil)

// watch adds what is read when asked.
func (m *originMetrics) watch(r prometheus.Registerer, origins func() *origin.AWS) {
	r.MustRegister(expiryCollector{origins})
}

func (c expiryCollector) Describe(d chan<- *prometheus.Desc) { d <- credentialsExpiry }

func (c expiryCollector) Collect(out chan<- prometheus.Metric) {
	for _, c := range c.origins().Credentials() {
		left := 0.0
		switch {
		case c.Valid && c.Expires.IsZero():
			left = math.Inf(1)
		case c.Valid:
			left = time.Until(c.Expires).Seconds()
		}
		out <- prometheus.MustNewConstMetric(credentialsExpiry, prometheus.GaugeValue, left, c.Name)
	}
}
