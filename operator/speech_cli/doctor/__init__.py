"""What `speechtrain doctor` looks at: one module a side of the installation, one row a check.

`row` says what an answer looks like; `machine` looks at this one, the others ask an API server. Nothing is changed
anywhere: reviews of rights are questions, whatever their verb.
"""
