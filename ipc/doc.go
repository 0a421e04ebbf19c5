// Package ipc holds the words of the daemon's socket: the types on the wire, the
// problems it answers with, and the defaults that both ends share.
//
// It uses the standard library alone, so that a player that imports it or
// [github.com/tvpassd/tvpassd/ipc/client] pulls in no foreign module. Package
// ipc/server is the daemon's end of the socket, package ipc/client the players'.
package ipc
