module targets

go 1.16
