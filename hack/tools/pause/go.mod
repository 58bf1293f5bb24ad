module mora.dev/hack/pause

go 1.24
