module targets

go 1.22
