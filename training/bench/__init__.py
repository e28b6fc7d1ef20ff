"""Leave-one-domain-out tables: methods x targets x labels per class x seeds, in one folder.

`cells` says what one training is and where its figures lie, `variants` what a method is,
`protocol` which images it sees, `worker` trains cells, `schedule` hands them to workers,
`table` and `table_text` sum them up, `significance` compares methods in pairs.
"""
