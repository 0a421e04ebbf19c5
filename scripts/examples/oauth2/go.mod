module github.com/tvpassd/tvpassd/scripts/examples/oauth2

go 1.26.0

require github.com/tvpassd/tvpassd v0.0.0

require golang.org/x/oauth2 v0.38.0

replace github.com/tvpassd/tvpassd => ../../..
