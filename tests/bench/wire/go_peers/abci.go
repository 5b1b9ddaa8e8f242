package main

import (
	"context"
	"fmt"
	"time"

	abcicli "github.com/cometbft/cometbft/abci/client"
	abciserver "github.com/cometbft/cometbft/abci/server"
	"github.com/cometbft/cometbft/abci/types"
)

type application struct{ types.BaseApplication }

func serveAbci(path string) error {
	server := abciserver.NewSocketServer("unix://"+path, &application{})
	if err := server.Start(); err != nil {
		return err
	}
	select {}
}

func dialAbci(path string) (caller, error) {
	client := abcicli.NewSocketClient("unix://"+path, true)
	if err := client.Start(); err != nil {
		return nil, err
	}
	return func(c cell) (figures, error) {
		request := &types.RequestCheckTx{Tx: make([]byte, c.Payload)}
		if c.Depth == 1 {
			return closedLoop(c, func() error {
				_, err := client.CheckTx(context.Background(), request)
				return err
			})
		}
		return pipelined(client, c, request)
	}, nil
}

// Requests go out without waiting, as its mempool sends them; a Flush follows
// each half of the window, without which its server answers nothing for 20 ms.
func pipelined(client abcicli.Client, c cell, request *types.RequestCheckTx) (figures, error) {
	ctx := context.Background()
	var latencies []float64
	var calls int64
	type asked struct {
		at time.Time
		rr *abcicli.ReqRes
	}
	var window []asked
	batch := (c.Depth + 1) / 2
	send := func(count int) error {
		for i := 0; i < count; i++ {
			at := time.Now()
			rr, err := client.CheckTxAsync(ctx, request)
			if err != nil {
				return err
			}
			window = append(window, asked{at, rr})
		}
		return nil
	}
	begin := time.Now()
	end := c.end(begin)
	if err := send(c.Depth); err != nil {
		return figures{}, err
	}
	go client.Flush(ctx)
	for len(window) > 0 {
		count := min(batch, len(window))
		for _, one := range window[:count] {
			one.rr.Wait()
			if one.rr.Response.GetCheckTx() == nil {
				return figures{}, fmt.Errorf("answered %v: %v", one.rr.Response, client.Error())
			}
			latencies = append(latencies, micros(time.Since(one.at)))
			calls++
		}
		window = append(window[:0:0], window[count:]...)
		isOver := c.Calls > 0 && calls >= c.Calls || c.Calls == 0 && time.Now().After(end)
		if isOver {
			continue
		}
		if err := send(count); err != nil {
			return figures{}, err
		}
		go client.Flush(ctx)
	}
	return summary(calls, time.Since(begin), latencies), nil
}
