package main

import (
	"sort"
	"sync"
	"sync/atomic"
	"time"
)

// What is asked for, and what was measured: as in ../cell.h.
type cell struct {
	Kind    string  `json:"kind"`
	Depth   int     `json:"depth"`
	Payload int     `json:"payload"`
	Seconds float64 `json:"seconds"`
	Calls   int64   `json:"calls"`
}

type figures struct {
	Calls   int64   `json:"calls"`
	Seconds float64 `json:"seconds"`
	P50     float64 `json:"p50_us"`
	P90     float64 `json:"p90_us"`
	P99     float64 `json:"p99_us"`
	P999    float64 `json:"p999_us"`
}

func (c cell) end(begin time.Time) time.Time {
	return begin.Add(time.Duration(c.Seconds * float64(time.Second)))
}

func summary(calls int64, took time.Duration, latencies []float64) figures {
	sort.Float64s(latencies)
	at := func(share float64) float64 {
		if len(latencies) == 0 {
			return 0
		}
		return latencies[int(share*float64(len(latencies)-1))]
	}
	return figures{calls, took.Seconds(), at(.5), at(.9), at(.99), at(.999)}
}

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }

// Keeps as many calls in flight, each in a goroutine of its own.
func closedLoop(c cell, call func() error) (figures, error) {
	var group sync.WaitGroup
	var calls atomic.Int64
	var failure atomic.Value
	all := make([][]float64, c.Depth)
	begin := time.Now()
	end := c.end(begin)
	for i := 0; i < c.Depth; i++ {
		group.Add(1)
		go func(i int) {
			defer group.Done()
			for {
				sent := time.Now()
				if err := call(); err != nil {
					failure.Store(err)
					return
				}
				now := time.Now()
				all[i] = append(all[i], micros(now.Sub(sent)))
				done := calls.Add(1)
				if c.Calls > 0 && done >= c.Calls || c.Calls == 0 && now.After(end) {
					return
				}
			}
		}(i)
	}
	group.Wait()
	took := time.Since(begin)
	if err, failed := failure.Load().(error); failed {
		return figures{}, err
	}
	var latencies []float64
	for _, some := range all {
		latencies = append(latencies, some...)
	}
	return summary(calls.Load(), took, latencies), nil
}
