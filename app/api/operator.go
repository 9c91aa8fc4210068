package api

import (
	"github.com/gin-gonic/gin"

	"github.com/riverbeat/riverbeat/app"
)

// asOperator has a request done on behalf of who runs the program: nobody is asked
// yet who they are.
func asOperator(c *gin.Context) {
	c.Request = c.Request.WithContext(app.WithCaller(c.Request.Context(), app.Operator("api")))
	c.Next()
}
