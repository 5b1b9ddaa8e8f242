package main

import (
	"context"
	"net"

	"github.com/containerd/ttrpc"

	"tests/bench/wire/go_peers/echo"
)

func serveTtrpc(path string) error {
	listener, err := net.Listen("unix", path)
	if err != nil {
		return err
	}
	server, err := ttrpc.NewServer()
	if err != nil {
		return err
	}
	echo.RegisterTTRPCEchoService(server, echoServer{})
	return server.Serve(context.Background(), listener)
}

func dialTtrpc(path string) (caller, error) {
	conn, err := net.Dial("unix", path)
	if err != nil {
		return nil, err
	}
	return echoCaller(echo.NewTTRPCEchoClient(ttrpc.NewClient(conn)).Get), nil
}
